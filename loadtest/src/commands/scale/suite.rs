//! The result of `loadtest scale` as a suite of test cases.

use engine::units::short;
use prover::prove::{AssertionVerdict, ScaleReport};

use super::nodes_text;
use crate::suite::{Case, CaseStatus, Suite};

/// Returns the suite with one case per assertion.
pub(super) fn suite(report: &ScaleReport) -> Suite {
    let several = report.runs.len() > 1;
    let numbered = report.runs.iter().zip(1..);
    let cases = numbered.flat_map(|(run, number)| {
        let run_prefix = if several {
            format!("run {number}: ")
        } else {
            String::new()
        };
        run.assertions.iter().map(move |assertion| Case {
            name: match &assertion.hpa {
                Some(hpa) => format!("{run_prefix}{} {hpa}: {}", assertion.name, assertion.expected),
                None => format!("{run_prefix}{}: {}", assertion.name, assertion.expected),
            },
            status: match assertion.verdict {
                AssertionVerdict::Passed => CaseStatus::Passed,
                AssertionVerdict::Failed => CaseStatus::Failed,
                AssertionVerdict::NotReached => CaseStatus::Skipped,
            },
            observed: assertion.observed.clone(),
            seconds: None,
        })
    });
    let steps = report.expected().iter().map(|expected| {
        let text = format!(
            "{}: {} -> {} -> {} replicas at {} requests/s",
            expected.hpa,
            expected.min,
            expected.replicas,
            expected.min,
            short(expected.rate)
        );
        ("step", text)
    });
    let times = report.time_to_scale.iter().filter_map(|spread| {
        let took = spread.took?;
        let text = format!(
            "{}: {} took {:.2} s (median), {:.2} s (worst)",
            spread.hpa,
            spread.stage.name(),
            took.median,
            took.worst
        );
        Some(("time to scale", text))
    });
    let last_samples = report.runs.iter().filter_map(|run| run.timeline.samples.last());
    Suite {
        name: "loadtest scale",
        subject: report.config.targets.join(", "),
        headline: report.verdict.headline().to_owned(),
        began_at: report.runs.first().and_then(|run| run.began_at),
        seconds: last_samples.map(|sample| sample.at).sum(),
        cases: cases.collect(),
        warnings: Vec::new(),
        facts: steps
            .chain(times)
            .chain(report.runs.iter().flat_map(nodes_text::facts))
            .collect(),
    }
}
