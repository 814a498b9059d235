//! The report as one page: the verdict first, then what must hold, the plots, and the numbers. Nothing is fetched.

use anyhow::Context;
use askama::Template;
use engine::{
    IntervalReport, LoadReport, Outcome,
    units::{short, to_f64},
};

use super::{
    chart::{Chart, Line},
    drawn::{Drawn, numbers},
    heat,
    plot::CLASSES,
};
use crate::suite::{Case, Standing, Suite};

#[derive(Template)]
#[template(path = "run.html")]
struct Page<'a> {
    report: &'a LoadReport,
    suite: &'a Suite,
    verdict_class: &'static str,
    rate: String,
    seconds: String,
    rows: Vec<Row<'a>>,
    charts: Vec<Drawn>,
    heat: String,
    summaries: Vec<(&'static str, Vec<String>)>,
    failures: Vec<(&'static str, u64, &'a str)>,
}

/// A case with how it looks.
struct Row<'a> {
    class: &'static str,
    word: &'static str,
    case: &'a Case,
}

/// The page.
///
/// # Errors
/// When the template fails, which would be a fault of this program.
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
        charts: [requests(report), latency(report)].map(Drawn::from).into(),
        heat: heat::svg(seconds.map(|second| &second.latency_counts[..])),
        summaries: vec![
            ("latency", numbers(&report.latency_ms)),
            ("of those that succeeded", numbers(&report.latency_succeeded_ms)),
            ("to connect", numbers(&report.connections.connect_ms)),
            ("generator's lag", numbers(&report.lag_ms)),
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
    };
    page.render().context("writing the page")
}

fn row(case: &Case) -> Row<'_> {
    let (class, word) = match case.standing {
        Standing::Passed => ("good", "ok"),
        Standing::Failed => ("bad", "failed"),
        Standing::Skipped => ("unknown", "not reached"),
    };
    Row { class, word, case }
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
    chart("Requests", "requests in each second", lines)
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
        // In the middle of its second.
        (f64::from(number) + 0.5, read(second))
    });
    Line {
        name: name.to_owned(),
        class,
        steps: false,
        points: points.collect(),
    }
}
