//! The HTML report of `verify`: the verdict first, then the failed tests, then all tests with their figures.

use anyhow::Context;
use askama::Template;
use engine::units::short;
use prover::verify::{Figure, Outcome, TestStatus, VerifyReport, VerifyVerdict};

#[derive(Template)]
#[template(path = "verify.html")]
struct Page<'a> {
    report: &'a VerifyReport,
    verdict_class: &'static str,
    passed: usize,
    ran: usize,
    seconds: String,
    certificates: String,
    rows: Vec<Row<'a>>,
}

/// A test with its CSS class and label.
struct Row<'a> {
    class: &'static str,
    word: &'static str,
    outcome: &'a Outcome,
    seconds: String,
    deadline: String,
}

impl Row<'_> {
    fn figures(&self) -> impl Iterator<Item = (&str, String)> {
        self.outcome.figures.iter().map(|figure: &Figure| {
            let value = format!("{} {}", short(figure.value), figure.unit);
            (figure.name.as_str(), value.trim_end().to_owned())
        })
    }
}

/// Renders the page.
///
/// # Errors
/// When the template fails, which is a bug in this program.
pub fn render(report: &VerifyReport) -> anyhow::Result<String> {
    let passed = report.count(TestStatus::Passed);
    let page = Page {
        verdict_class: match report.verdict {
            VerifyVerdict::Passed => "good",
            VerifyVerdict::Failed => "bad",
            VerifyVerdict::Interrupted => "unknown",
        },
        passed,
        ran: passed + report.count(TestStatus::Failed),
        seconds: short(report.duration_seconds),
        certificates: report.config.certificates.describe(),
        rows: report.tests.iter().map(row).collect(),
        report,
    };
    page.render().context("rendering the page")
}

fn row(outcome: &Outcome) -> Row<'_> {
    let (class, word) = match outcome.status {
        TestStatus::Passed => ("good", "ok"),
        TestStatus::Failed => ("bad", "failed"),
        TestStatus::Skipped => ("unknown", "not run"),
    };
    Row {
        class,
        word,
        outcome,
        seconds: short(outcome.duration_seconds),
        deadline: short(outcome.deadline_seconds),
    }
}
