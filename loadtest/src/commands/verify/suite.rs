//! The result of `loadtest verify` as a suite of test cases.

use engine::units::short;
use prover::verify::{Outcome, TestStatus, VerifyReport};

use super::text::observed;
use crate::suite::{Case, CaseStatus, Suite};

/// Returns the suite with one case per test of the stage table.
pub(super) fn suite(report: &VerifyReport) -> Suite {
    let config = &report.config;
    let context = config.context.as_deref().unwrap_or("the current context");
    let figures = report.tests.iter().flat_map(|outcome| {
        outcome.figures.iter().map(move |figure| {
            let unit = if figure.unit.is_empty() { "" } else { " " };
            (
                "figure",
                format!(
                    "{}: {}: {}{unit}{}",
                    outcome.name,
                    figure.name,
                    short(figure.value),
                    figure.unit
                ),
            )
        })
    });
    let facts = [
        ("stage", report.stage.name().to_owned()),
        ("certificates", config.certificates.describe()),
    ];
    Suite {
        name: "loadtest verify",
        subject: format!("{}, {} on {context}", config.https, config.overlay),
        headline: report.verdict.headline().to_owned(),
        began_at: Some(report.started_at),
        seconds: report.duration_seconds,
        cases: report.tests.iter().map(case).collect(),
        warnings: Vec::new(),
        facts: facts.into_iter().chain(figures).collect(),
    }
}

fn case(outcome: &Outcome) -> Case {
    Case {
        name: outcome.name.name().to_owned(),
        status: match outcome.status {
            TestStatus::Passed => CaseStatus::Passed,
            TestStatus::Failed => CaseStatus::Failed,
            TestStatus::Skipped => CaseStatus::Skipped,
        },
        observed: observed(outcome),
        seconds: Some(outcome.duration_seconds),
    }
}
