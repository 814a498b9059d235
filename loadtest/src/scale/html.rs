//! The report as one page: the verdict first, then every assertion, the plots, and the events. Nothing is fetched.

use anyhow::Context;
use askama::Template;

use super::{
    assertion::{Assertion, Standing},
    report::{ScaleReport, ScaleVerdict},
    timeline::{EventMark, HpaSample, LoadSample},
};
use crate::{
    load::LoadReport,
    page::{
        CLASSES, Drawn,
        chart::{Chart, Line, Mark},
        numbers,
    },
    units::short,
};

#[derive(Template)]
#[template(path = "scale.html")]
struct Page<'a> {
    report: &'a ScaleReport,
    verdict_class: &'static str,
    headline: &'static str,
    steps: String,
    rate: String,
    assertions: Vec<Row<'a>>,
    charts: Vec<Drawn>,
    loads: Vec<LoadSection<'a>>,
    events: Vec<(String, &'a EventMark)>,
}

/// An assertion with how it looks.
struct Row<'a> {
    class: &'static str,
    word: &'static str,
    assertion: &'a Assertion,
}

/// The requests of one load.
struct LoadSection<'a> {
    title: &'static str,
    load: &'a LoadReport,
    achieved: String,
    summaries: Vec<(&'static str, Vec<String>)>,
}

/// The page.
///
/// # Errors
/// When the template fails, which would be a fault of this program.
pub fn render(report: &ScaleReport) -> anyhow::Result<String> {
    let expected = report.timeline.expected.iter();
    let steps: Vec<String> = expected
        .map(|one| format!("{} {} → {} → {}", one.hpa, one.min, one.replicas, one.min))
        .collect();
    let loads = [
        ("Step", report.step.as_ref()),
        ("Tail, while scaling down", report.tail.as_ref()),
    ];
    let page = Page {
        report,
        verdict_class: match report.verdict {
            ScaleVerdict::Passed => "good",
            ScaleVerdict::Interrupted => "unknown",
            ScaleVerdict::Failed | ScaleVerdict::RequestsFailed | ScaleVerdict::Invalid => "bad",
        },
        headline: report.verdict.headline(),
        steps: steps.join(", "),
        rate: short(report.config.rate),
        assertions: report.assertions.iter().map(row).collect(),
        charts: [requests(report), replicas(report), latency(report)]
            .map(Drawn::from)
            .into(),
        loads: loads
            .into_iter()
            .filter_map(|(title, load)| Some(section(title, load?)))
            .collect(),
        events: report
            .timeline
            .events
            .iter()
            .map(|event| (short(event.at), event))
            .collect(),
    };
    page.render().context("writing the page")
}

fn row(assertion: &Assertion) -> Row<'_> {
    let (class, word) = match assertion.standing {
        Standing::Passed => ("good", "ok"),
        Standing::Failed => ("bad", "failed"),
        Standing::NotReached => ("unknown", "not reached"),
    };
    Row {
        class,
        word,
        assertion,
    }
}

fn section<'a>(title: &'static str, load: &'a LoadReport) -> LoadSection<'a> {
    let summaries = [
        ("latency", &load.latency_ms),
        ("of those that succeeded", &load.latency_succeeded_ms),
        ("generator's lag", &load.lag_ms),
    ];
    let summaries = summaries.map(|(what, summary)| (what, numbers(summary)));
    LoadSection {
        title,
        load,
        achieved: short(load.rates.achieved),
        summaries: summaries.into(),
    }
}

fn requests(report: &ScaleReport) -> Chart {
    let mut lines = vec![
        of_load(report, "asked for", CLASSES[0], true, |load| Some(load.wanted)),
        of_load(report, "sent", CLASSES[1], false, |load| Some(load.achieved)),
    ];
    for (one, class) in report.timeline.expected.iter().zip(&CLASSES[2..]) {
        lines.push(of_hpa(
            report,
            &one.hpa,
            format!("{}: metric", one.hpa),
            class,
            false,
            |hpa| hpa.metric_sum,
        ));
    }
    chart(report, "Requests", "requests/s", lines)
}

fn replicas(report: &ScaleReport) -> Chart {
    let mut lines = Vec::new();
    for (one, classes) in report.timeline.expected.iter().zip(CLASSES.chunks(2).cycle()) {
        let name = &one.hpa;
        let line = |text: &str, class, read: fn(&HpaSample) -> Option<f64>| {
            of_hpa(report, name, format!("{name}: {text}"), class, true, read)
        };
        lines.push(line("wanted", classes[0], |hpa| Some(hpa.desired.into())));
        lines.push(line("ready", classes[1], |hpa| Some(hpa.ready.into())));
    }
    chart(report, "Replicas", "pods", lines)
}

fn latency(report: &ScaleReport) -> Chart {
    let lines = vec![
        of_load(report, "p50", CLASSES[1], false, |load| load.latency_ms.p50),
        of_load(report, "p99", CLASSES[3], false, |load| load.latency_ms.p99),
    ];
    chart(report, "Latency from the intended start", "ms", lines)
}

fn chart(report: &ScaleReport, title: &'static str, unit: &'static str, lines: Vec<Line>) -> Chart {
    let timeline = &report.timeline;
    let marks = timeline
        .events
        .iter()
        .filter(|event| event.warning || event.regarding.starts_with("Horizontal"));
    let mark = |event: &EventMark| Mark {
        at: event.at,
        title: format!(
            "{} s: {} {}: {}",
            short(event.at),
            event.regarding,
            event.reason,
            event.note
        ),
        warning: event.warning,
    };
    let end = timeline.marks.plateau_ended;
    Chart {
        title,
        unit,
        lines,
        marks: marks.map(mark).collect(),
        shaded: timeline.marks.plateau_began.and_then(|began| Some((began, end?))),
    }
}

fn of_load(
    report: &ScaleReport,
    name: &str,
    class: &'static str,
    steps: bool,
    read: impl Fn(&LoadSample) -> Option<f64>,
) -> Line {
    let samples = report.timeline.samples.iter();
    let points = samples
        .map(|sample| (sample.at, sample.load.as_ref().and_then(&read)))
        .collect();
    Line {
        name: name.to_owned(),
        class,
        steps,
        points,
    }
}

fn of_hpa(
    report: &ScaleReport,
    hpa: &str,
    name: String,
    class: &'static str,
    steps: bool,
    read: impl Fn(&HpaSample) -> Option<f64>,
) -> Line {
    let samples = report.timeline.samples.iter();
    let points = samples
        .map(|sample| (sample.at, sample.hpas.get(hpa).and_then(&read)))
        .collect();
    Line {
        name,
        class,
        steps,
        points,
    }
}
