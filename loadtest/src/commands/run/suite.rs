//! The result of `run`, `job` and `merge` as a suite of test cases.

use engine::{Bounds, EarlyEnd, LoadReport, Outcome, Verdict, units::short};

use super::text::{summary, target, warm_up};
use crate::suite::{Case, CaseStatus, Suite};

/// Returns the suite with one case per check.
pub(super) fn suite(report: &LoadReport, bounds: &Bounds, verdict: &Verdict) -> Suite {
    let requests = &report.requests;
    let lag = report.lag_ms.p99.map_or("-".to_owned(), short);
    let dropped = match requests.dropped {
        0 => String::new(),
        dropped => format!(" ({dropped} of them dropped)"),
    };
    let answered = format!("{} sent, {} failed{dropped}", requests.sent, requests.failed);
    let interruption =
        (verdict.outcome == Outcome::Interrupted).then(|| "stopped by a signal before its end".to_owned());
    let early_end = report.ended_early.as_ref().map(EarlyEnd::describe);
    let incomplete: Vec<String> = interruption.into_iter().chain(early_end).collect();
    let mut cases = vec![
        Case::from_failures("the run completes", &incomplete, "completed"),
        Case::from_failures(
            "the generator holds the rate",
            &report.invalid_reasons(bounds),
            &format!("lag p99 {lag} ms"),
        ),
        Case::from_failures("requests succeed", &report.failure_reasons(bounds), &answered),
    ];
    cases.extend(verdict.thresholds.iter().map(|threshold| Case {
        name: threshold.threshold.to_string(),
        status: if threshold.holds {
            CaseStatus::Passed
        } else {
            CaseStatus::Failed
        },
        observed: threshold.observed_text(),
        seconds: None,
    }));
    Suite {
        name: "loadtest run",
        subject: report
            .targets
            .iter()
            .map(|target_report| target(&target_report.target))
            .collect::<Vec<_>>()
            .join(", "),
        headline: verdict.outcome.headline().to_owned(),
        began_at: Some(report.started_at),
        seconds: report.duration_seconds,
        cases,
        warnings: verdict.warnings.clone(),
        facts: [
            report.warm_up.as_ref().map(|warm| ("warm-up", warm_up(warm))),
            Some(("requests", answered)),
            Some((
                "rate",
                format!(
                    "{} requested, {} succeeded (requests/s)",
                    short(report.rates.requested),
                    short(report.rates.succeeded)
                ),
            )),
            Some(("latency", summary(&report.latency_ms))),
        ]
        .into_iter()
        .flatten()
        .collect(),
    }
}
