//! The report of `loadtest verify` as text.

use engine::units::short;
use prover::verify::{DeliveryStage, Outcome, Test, TestStatus, VerifyReport};

/// Returns the verdict, and a line for each test of the stage.
pub(super) fn summary(report: &VerifyReport) -> String {
    let mut lines = vec![format!(
        "{}: stage {}, {} of {} tests passed in {} s",
        report.verdict.headline(),
        report.stage.name(),
        report.count(TestStatus::Passed),
        report.count(TestStatus::Passed) + report.count(TestStatus::Failed),
        short(report.duration_seconds)
    )];
    lines.push(format!(
        "  certificates: {}",
        report.config.certificates.describe()
    ));
    let of_stage = report.tests.iter().filter(|outcome| {
        report.stage.tests().contains(&outcome.name) || Test::CANARY.contains(&outcome.name)
    });
    lines.extend(of_stage.map(outcome_line));
    lines.join("\n") + "\n"
}

/// Returns the outcome of a test in one line, or in several if the text that was seen has several.
pub(super) fn outcome_line(outcome: &Outcome) -> String {
    let mark = match outcome.status {
        TestStatus::Passed => "ok     ",
        TestStatus::Failed => "FAILED ",
        TestStatus::Skipped => "-      ",
    };
    let took = match outcome.status {
        TestStatus::Skipped => String::new(),
        _ => format!(" ({} s)", short(outcome.duration_seconds)),
    };
    format!("  {mark}{}: {}{took}", outcome.name, observed(outcome))
}

/// Returns why a test did not pass, and what it saw.
pub(super) fn observed(outcome: &Outcome) -> String {
    match &outcome.reason {
        None => outcome.seen.clone(),
        Some(reason) if outcome.seen.is_empty() => reason.clone(),
        Some(reason) => format!("{reason}; seen: {}", outcome.seen),
    }
}

/// Lists the tests with their deadlines in each stage, or in one.
pub(super) fn list(stage: Option<DeliveryStage>) -> String {
    let stages = stage.map_or(DeliveryStage::ALL.to_vec(), |stage| vec![stage]);
    let mut lines = Vec::new();
    for test in Test::ALL.into_iter().chain(Test::CANARY) {
        let of_test: Vec<String> = stages
            .iter()
            .filter(|stage| stage.tests().contains(&test) || Test::CANARY.contains(&test))
            .map(|stage| {
                let deadline = humantime::format_duration(test.deadline(*stage));
                format!("{} (deadline {deadline})", stage.name())
            })
            .collect();
        if !of_test.is_empty() {
            lines.push(format!("{:<16}{}", test.name(), of_test.join(", ")));
            lines.push(format!("{:16}{}", "", test.checks()));
        }
    }
    lines.join("\n") + "\n"
}
