//! The report as one page: the verdict first, then every assertion, the plots, and the events. Nothing is fetched.

use anyhow::Context;
use askama::Template;
use engine::{
    LoadReport,
    units::{short, to_f64},
};
use prover::prove::{
    Assertion, AssertionVerdict, EventMark, HpaSample, LoadSample, PodPath, PodShare, Sample, ScaleReport,
    ScaleRun, ScaleVerdict, StageSpread, TimeToScale,
};

use super::{
    chart::{Chart, Line, Mark},
    drawn::{Drawn, numbers},
    gantt::{self, Bar, Part},
    heat,
    plot::CLASSES,
};

#[derive(Template)]
#[template(path = "scale.html")]
struct Page<'a> {
    report: &'a ScaleReport,
    verdict_class: &'static str,
    headline: &'static str,
    steps: String,
    rate: String,
    /// Empty where there is only one run.
    spread: &'a [StageSpread],
    runs: Vec<RunSection<'a>>,
}

/// One run.
struct RunSection<'a> {
    run: &'a ScaleRun,
    /// Empty where there is only one.
    title: String,
    assertions: Vec<Row<'a>>,
    charts: Vec<Drawn>,
    heat: String,
    ways: Vec<Ways<'a>>,
    shares: Vec<ShareRow<'a>>,
    loads: Vec<LoadSection<'a>>,
    events: Vec<(String, &'a EventMark)>,
}

/// The ways to the new pods of one HPA.
struct Ways<'a> {
    time: &'a TimeToScale,
    gantt: String,
    /// The way to the pod that was ready last.
    last: &'a PodPath,
}

/// One pod's part.
struct ShareRow<'a> {
    share: &'a PodShare,
    answered: String,
    counted: String,
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
    let steps: Vec<String> = report
        .expected()
        .iter()
        .map(|one| format!("{} {} → {} → {}", one.hpa, one.min, one.replicas, one.min))
        .collect();
    let several = report.runs.len() > 1;
    let page = Page {
        report,
        verdict_class: class(report.verdict),
        headline: report.verdict.headline(),
        steps: steps.join(", "),
        rate: short(report.config.rate),
        spread: if several { &report.time_to_scale } else { &[] },
        runs: report
            .runs
            .iter()
            .zip(1..)
            .map(|(run, number)| run_section(run, several.then_some(number)))
            .collect(),
    };
    page.render().context("writing the page")
}

fn class(verdict: ScaleVerdict) -> &'static str {
    match verdict {
        ScaleVerdict::Passed => "good",
        ScaleVerdict::Interrupted => "unknown",
        ScaleVerdict::Failed
        | ScaleVerdict::RequestsFailed
        | ScaleVerdict::ThresholdBroken
        | ScaleVerdict::Invalid => "bad",
    }
}

fn run_section(run: &ScaleRun, number: Option<u32>) -> RunSection<'_> {
    let loads = [
        ("Step", run.step.as_ref()),
        ("Tail, while scaling down", run.tail.as_ref()),
    ];
    let seconds = run.step.as_ref().map_or(&[][..], |step| &step.intervals);
    RunSection {
        run,
        title: number.map_or(String::new(), |number| {
            format!("Run {number}: {}", run.verdict.headline())
        }),
        assertions: run.assertions.iter().map(row).collect(),
        charts: [requests(run), replicas(run), latency(run)]
            .map(Drawn::from)
            .into(),
        heat: heat::svg(seconds.iter().map(|second| &second.latency_counts[..])),
        ways: run.time_to_scale.iter().filter_map(ways).collect(),
        shares: shares(run),
        loads: loads
            .into_iter()
            .filter_map(|(title, load)| Some(section(title, load?)))
            .collect(),
        events: run
            .timeline
            .events
            .iter()
            .map(|event| (short(event.at), event))
            .collect(),
    }
}

fn ways(time: &TimeToScale) -> Option<Ways<'_>> {
    let last = time.last()?;
    Some(Ways {
        time,
        gantt: gantt::svg(&time.pods.iter().map(bar).collect::<Vec<_>>()),
        last,
    })
}

fn bar(path: &PodPath) -> Bar {
    let mut from = 0.0;
    let parts = path.stages.iter().filter_map(|one| {
        let to = one.at?.seconds;
        let part = Part {
            from,
            to,
            name: one.stage.name(),
        };
        from = to;
        Some(part)
    });
    Bar {
        parts: parts.collect(),
        name: path.pod.clone(),
    }
}

fn shares<'a>(run: &'a ScaleRun) -> Vec<ShareRow<'a>> {
    let row = |share: &'a PodShare| {
        let PodShare { hpa, .. } = share;
        let of_hpa = || run.pods.iter().filter(move |one| one.hpa == *hpa);
        let answered: f64 = of_hpa().filter_map(|one| one.answered).map(to_f64).sum();
        let counted: f64 = of_hpa().filter_map(|one| one.counted).sum();
        ShareRow {
            share,
            answered: part(share.answered.map(to_f64), answered),
            counted: part(share.counted, counted),
        }
    };
    run.pods.iter().map(row).collect()
}

/// A number and its share of all.
fn part(value: Option<f64>, all: f64) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if all > 0.0 => format!("{value:.0} ({:.1} %)", value / all * 100.0),
        Some(value) => format!("{value:.0}"),
    }
}

fn row(assertion: &Assertion) -> Row<'_> {
    let (class, word) = match assertion.verdict {
        AssertionVerdict::Passed => ("good", "ok"),
        AssertionVerdict::Failed => ("bad", "failed"),
        AssertionVerdict::NotReached => ("unknown", "not reached"),
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

fn requests(run: &ScaleRun) -> Chart {
    let mut lines = vec![
        of_load(run, "asked for", CLASSES[0], true, |load| Some(load.wanted)),
        of_load(run, "sent", CLASSES[1], false, |load| Some(load.achieved)),
    ];
    for (one, class) in run.timeline.expected.iter().zip(&CLASSES[2..]) {
        lines.push(of_hpa(
            run,
            &one.hpa,
            format!("{}: metric", one.hpa),
            class,
            false,
            |hpa| hpa.metric_sum,
        ));
    }
    chart(run, "Requests", "requests/s", lines)
}

fn replicas(run: &ScaleRun) -> Chart {
    let mut lines = Vec::new();
    for (one, classes) in run.timeline.expected.iter().zip(CLASSES.chunks(2).cycle()) {
        let name = &one.hpa;
        let line = |text: &str, class, read: fn(&HpaSample) -> Option<f64>| {
            of_hpa(run, name, format!("{name}: {text}"), class, true, read)
        };
        lines.push(line("wanted", classes[0], |hpa| Some(hpa.desired.into())));
        lines.push(line("ready", classes[1], |hpa| Some(hpa.ready.into())));
    }
    let nodes = |sample: &Sample| Some(to_f64(sample.nodes?.ready as u64));
    if run.timeline.samples.iter().any(|sample| sample.nodes.is_some()) {
        lines.push(Line {
            name: "nodes ready".to_owned(),
            class: CLASSES[5],
            steps: true,
            points: run
                .timeline
                .samples
                .iter()
                .map(|sample| (sample.at, nodes(sample)))
                .collect(),
        });
    }
    chart(run, "Replicas", "pods", lines)
}

fn latency(run: &ScaleRun) -> Chart {
    let lines = vec![
        of_load(run, "p50", CLASSES[1], false, |load| load.latency_ms.p50),
        of_load(run, "p99", CLASSES[3], false, |load| load.latency_ms.p99),
    ];
    chart(run, "Latency from the intended start", "ms", lines)
}

fn chart(run: &ScaleRun, title: &'static str, unit: &'static str, lines: Vec<Line>) -> Chart {
    let timeline = &run.timeline;
    let marks = timeline.events.iter().filter(|event| event.is_notable());
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
    run: &ScaleRun,
    name: &str,
    class: &'static str,
    steps: bool,
    read: impl Fn(&LoadSample) -> Option<f64>,
) -> Line {
    let samples = run.timeline.samples.iter();
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
    run: &ScaleRun,
    hpa: &str,
    name: String,
    class: &'static str,
    steps: bool,
    read: impl Fn(&HpaSample) -> Option<f64>,
) -> Line {
    let samples = run.timeline.samples.iter();
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
