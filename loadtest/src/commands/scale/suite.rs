//! The result of `loadtest scale` as a suite of what must hold.

use engine::units::short;
use prover::prove::{AssertionVerdict, ScaleReport};

use crate::suite::{self, Case, Suite};

/// The verdict, case by case.
pub(super) fn suite(report: &ScaleReport) -> Suite {
    let several = report.runs.len() > 1;
    let numbered = report.runs.iter().zip(1..);
    let cases = numbered.flat_map(|(run, number)| {
        let run_name = if several {
            format!("run {number}: ")
        } else {
            String::new()
        };
        run.assertions.iter().map(move |one| Case {
            name: match &one.hpa {
                Some(hpa) => format!("{run_name}{} {hpa}: {}", one.name, one.expected),
                None => format!("{run_name}{}: {}", one.name, one.expected),
            },
            standing: match one.verdict {
                AssertionVerdict::Passed => suite::Standing::Passed,
                AssertionVerdict::Failed => suite::Standing::Failed,
                AssertionVerdict::NotReached => suite::Standing::Skipped,
            },
            observed: one.observed.clone(),
        })
    });
    let steps = report.expected().iter().map(|one| {
        let text = format!(
            "{}: {} -> {} -> {} replicas at {} requests/s",
            one.hpa,
            one.min,
            one.replicas,
            one.min,
            short(one.rate)
        );
        ("step", text)
    });
    let times = report.time_to_scale.iter().filter_map(|one| {
        let took = one.took?;
        let text = format!(
            "{}: {} took {:.2} s, {:.2} s at worst",
            one.hpa,
            one.stage.name(),
            took.median,
            took.worst
        );
        Some(("time to scale", text))
    });
    let seconds = report.runs.iter().filter_map(|run| run.timeline.samples.last());
    Suite {
        name: "loadtest scale",
        subject: report.config.targets.join(", "),
        headline: report.verdict.headline().to_owned(),
        began_at: report.runs.first().and_then(|run| run.began_at),
        seconds: seconds.map(|sample| sample.at).sum(),
        cases: cases.collect(),
        facts: steps.chain(times).collect(),
    }
}
