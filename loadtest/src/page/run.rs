//! The HTML report of `run`, `job` and `merge`: the verdict first, then the checks, the plots and the numbers.

use anyhow::Context;
use askama::Template;
use engine::{
    IntervalReport, LoadReport, Outcome, SlowRequest,
    units::{short, to_f64},
};

use super::{
    chart::{Chart, Line},
    figure::{Figure, summary_cells},
    heat_map,
    plot::CLASSES,
};
use crate::suite::{Case, CaseStatus, Suite};

#[derive(Template)]
#[template(path = "run.html")]
struct Page<'a> {
    report: &'a LoadReport,
    suite: &'a Suite,
    verdict_class: &'static str,
    rate: String,
    seconds: String,
    rows: Vec<Row<'a>>,
    charts: Vec<Figure>,
    heat_map: String,
    summaries: Vec<(&'static str, Vec<String>)>,
    failures: Vec<(&'static str, u64, &'a str)>,
    slowest: Vec<[String; 11]>,
}

/// A case with its CSS class and label.
struct Row<'a> {
    class: &'static str,
    word: &'static str,
    case: &'a Case,
}

/// Renders the page.
///
/// # Errors
/// When the template fails, which is a bug in this program.
pub fn render(report: &LoadReport, outcome: Outcome, suite: &Suite) -> anyhow::Result<String> {
    let seconds = report.intervals.iter();
    let page = Page {
        report,
        suite,
        verdict_class: match outcome {
            Outcome::Passed => "good",
            Outcome::Interrupted => "unknown",
            Outcome::Failed | Outcome::Invalid => "bad",
        },
        rate: short(report.rates.requested),
        seconds: short(report.duration_seconds),
        rows: suite.cases.iter().map(row).collect(),
        charts: [requests(report), latency(report)].map(Figure::from).into(),
        heat_map: heat_map::svg(seconds.map(|second| &second.latency_counts[..])),
        summaries: vec![
            ("latency", summary_cells(&report.latency_ms)),
            (
                "latency of successes",
                summary_cells(&report.latency_succeeded_ms),
            ),
            ("connect time", summary_cells(&report.connections.connect_ms)),
            ("generator lag", summary_cells(&report.lag_ms)),
        ],
        failures: report
            .failures
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(kind, count)| {
                let example = report.failure_examples.get(kind).map_or("", String::as_str);
                (kind.name(), *count, example)
            })
            .collect(),
        slowest: report.slowest.iter().map(slow_cells).collect(),
    };
    page.render().context("rendering the page")
}

fn row(case: &Case) -> Row<'_> {
    let (class, word) = match case.status {
        CaseStatus::Passed => ("good", "ok"),
        CaseStatus::Failed => ("bad", "failed"),
        CaseStatus::Skipped => ("unknown", "not reached"),
    };
    Row { class, word, case }
}

/// Returns the table cells of one of the slowest requests.
fn slow_cells(request: &SlowRequest) -> [String; 11] {
    let number = |value: Option<f64>| value.map_or("–".to_owned(), short);
    let text = |value: Option<String>| value.unwrap_or("–".to_owned());
    [
        short(request.due_seconds),
        request.due_at.strftime("%H:%M:%S%.3fZ").to_string(),
        short(request.latency_ms),
        short(request.lag_ms),
        short(request.wait_ms),
        number(request.connect_ms),
        number(request.response_ms),
        text(request.status.map(|status| status.to_string())),
        text(request.failure.map(|kind| kind.name().to_owned())),
        text(request.served_by.clone()),
        request.target.clone(),
    ]
}

fn requests(report: &LoadReport) -> Chart {
    let lines = vec![
        line(report, "due", CLASSES[0], |second| {
            Some(to_f64(second.counts.scheduled))
        }),
        line(report, "succeeded", CLASSES[1], |second| {
            Some(to_f64(second.counts.succeeded))
        }),
        line(report, "failed", CLASSES[2], |second| {
            Some(to_f64(second.counts.failed))
        }),
    ];
    chart("Requests", "requests per second", lines)
}

fn latency(report: &LoadReport) -> Chart {
    let lines = vec![
        line(report, "p50", CLASSES[1], |second| second.latency_ms.p50),
        line(report, "p90", CLASSES[4], |second| second.latency_ms.p90),
        line(report, "p99", CLASSES[3], |second| second.latency_ms.p99),
    ];
    chart("Latency from the intended start", "ms", lines)
}

fn chart(title: &'static str, unit: &'static str, lines: Vec<Line>) -> Chart {
    Chart {
        title,
        unit,
        lines,
        marks: Vec::new(),
        shaded: None,
    }
}

fn line(
    report: &LoadReport,
    name: &str,
    class: &'static str,
    read: impl Fn(&IntervalReport) -> Option<f64>,
) -> Line {
    let points = report.intervals.iter().zip(0_u32..).map(|(second, number)| {
        // The middle of the second.
        (f64::from(number) + 0.5, read(second))
    });
    Line {
        name: name.to_owned(),
        class,
        steps: false,
        points: points.collect(),
    }
}
