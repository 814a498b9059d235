//! The HTML report of `scale`: the verdict and the numbers first, then the plots, the checks and the events.

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
use wiring::diagnosis::LinkState;

use super::{
    chart::{Chart, Line, Mark},
    figure::{Figure, count_and_percentage, summary_cells},
    gantt::{self, Bar, Part},
    heat_map,
    nodes::{self, NodesSection},
    plot::CLASSES,
    scale_numbers::{self, Number, RunNumbers},
};

#[derive(Template)]
#[template(path = "scale.html")]
struct Page<'a> {
    report: &'a ScaleReport,
    verdict_class: &'static str,
    headline: &'static str,
    steps: String,
    rate: String,
    /// The checks that do not hold, with the number of their run.
    broken: Vec<(u32, &'a Assertion)>,
    numbers: Vec<Number>,
    /// The numbers of each run; empty for a single run.
    by_run: Vec<RunNumbers<'a>>,
    /// Whether a run has a section about nodes.
    shows_nodes: bool,
    /// The times over all runs; empty for a single run.
    spread: &'a [StageSpread],
    runs: Vec<RunSection<'a>>,
}

/// The section of one run.
struct RunSection<'a> {
    run: &'a ScaleRun,
    /// Empty for a single run.
    title: String,
    assertions: Vec<Row<'a>>,
    charts: Vec<Figure>,
    heat_map: String,
    /// Only with `--nodes`.
    nodes: Option<NodesSection<'a>>,
    pod_paths: Vec<HpaPodPaths<'a>>,
    shares: Vec<ShareRow<'a>>,
    loads: Vec<LoadSection<'a>>,
    events: Vec<(String, &'a EventMark)>,
}

/// The scaling stages of the new pods of one HPA.
struct HpaPodPaths<'a> {
    time: &'a TimeToScale,
    gantt: String,
    /// The stages of the pod that became ready last.
    last: &'a PodPath,
}

/// The share of one pod in the requests of the step.
struct ShareRow<'a> {
    share: &'a PodShare,
    answered: String,
    counted: String,
}

/// An assertion with its CSS class and label.
struct Row<'a> {
    class: &'static str,
    word: &'static str,
    assertion: &'a Assertion,
}

/// The section about the requests of the step or the tail.
struct LoadSection<'a> {
    title: &'static str,
    load: &'a LoadReport,
    achieved: String,
    summaries: Vec<(&'static str, Vec<String>)>,
}

/// Renders the page.
///
/// # Errors
/// When the template fails, which is a bug in this program.
pub fn render(report: &ScaleReport) -> anyhow::Result<String> {
    let steps: Vec<String> = report
        .expected()
        .iter()
        .map(|hpa| format!("{} {} → {} → {}", hpa.hpa, hpa.min, hpa.replicas, hpa.min))
        .collect();
    let several = report.runs.len() > 1;
    let page = Page {
        report,
        verdict_class: class(report.verdict),
        headline: report.verdict.headline(),
        steps: steps.join(", "),
        rate: short(report.config.rate),
        broken: broken(report).collect(),
        numbers: scale_numbers::numbers(report),
        by_run: if several {
            scale_numbers::by_run(report)
        } else {
            Vec::new()
        },
        shows_nodes: report.runs.iter().any(|run| run.timeline.nodes.is_some()),
        spread: if several { &report.time_to_scale } else { &[] },
        runs: report
            .runs
            .iter()
            .zip(1..)
            .map(|(run, number)| run_section(run, several.then_some(number)))
            .collect(),
    };
    page.render().context("rendering the page")
}

/// Returns the assertions that do not hold, with the number of their run.
fn broken(report: &ScaleReport) -> impl Iterator<Item = (u32, &Assertion)> {
    let runs = (1..).zip(&report.runs);
    runs.flat_map(|(number, run)| run.assertions.iter().map(move |assertion| (number, assertion)))
        .filter(|(_, assertion)| assertion.verdict == AssertionVerdict::Failed)
}

/// Returns the CSS class of a verdict.
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
            .map(Figure::from)
            .into(),
        nodes: nodes::section(run),
        heat_map: heat_map::svg(seconds.iter().map(|second| &second.latency_counts[..])),
        pod_paths: run.time_to_scale.iter().filter_map(hpa_pod_paths).collect(),
        shares: shares(run),
        loads: loads
            .into_iter()
            .filter_map(|(title, load)| Some(load_section(title, load?)))
            .collect(),
        events: run
            .timeline
            .events
            .iter()
            .map(|event| (short(event.at), event))
            .collect(),
    }
}

fn hpa_pod_paths(time: &TimeToScale) -> Option<HpaPodPaths<'_>> {
    let last = time.last()?;
    Some(HpaPodPaths {
        time,
        gantt: gantt::svg(&time.pods.iter().map(bar).collect::<Vec<_>>()),
        last,
    })
}

fn bar(path: &PodPath) -> Bar {
    let mut from = 0.0;
    let parts = path.stages.iter().filter_map(|time| {
        let to = time.at?.seconds;
        let part = Part {
            from,
            to,
            name: time.stage.name(),
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
        let pods_of_hpa = || run.pods.iter().filter(move |pod| pod.hpa == *hpa);
        let answered: f64 = pods_of_hpa().filter_map(|pod| pod.answered).map(to_f64).sum();
        let counted: f64 = pods_of_hpa().filter_map(|pod| pod.counted).sum();
        ShareRow {
            share,
            answered: count_and_percentage(share.answered.map(to_f64), answered),
            counted: count_and_percentage(share.counted, counted),
        }
    };
    run.pods.iter().map(row).collect()
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

fn load_section<'a>(title: &'static str, load: &'a LoadReport) -> LoadSection<'a> {
    let summaries = [
        ("latency", &load.latency_ms),
        ("latency of successes", &load.latency_succeeded_ms),
        ("generator lag", &load.lag_ms),
    ];
    let summaries = summaries.map(|(name, summary)| (name, summary_cells(summary)));
    LoadSection {
        title,
        load,
        achieved: short(load.rates.achieved),
        summaries: summaries.into(),
    }
}

fn requests(run: &ScaleRun) -> Chart {
    let mut lines = vec![
        load_line(run, "requested", CLASSES[0], true, |load| Some(load.wanted)),
        load_line(run, "sent", CLASSES[1], false, |load| Some(load.achieved)),
    ];
    for (expected, class) in run.timeline.expected.iter().zip(&CLASSES[2..]) {
        lines.push(hpa_line(
            run,
            &expected.hpa,
            format!("{}: {}", expected.hpa, expected.metric.label()),
            class,
            false,
            |hpa| hpa.metric_sum,
        ));
    }
    chart(run, "Requests", "requests/s", lines)
}

fn replicas(run: &ScaleRun) -> Chart {
    let mut lines = Vec::new();
    for (expected, classes) in run.timeline.expected.iter().zip(CLASSES.chunks(2).cycle()) {
        let name = &expected.hpa;
        let line = |text: &str, class, read: fn(&HpaSample) -> Option<f64>| {
            hpa_line(run, name, format!("{name}: {text}"), class, true, read)
        };
        lines.push(line("desired", classes[0], |hpa| Some(hpa.desired.into())));
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
        load_line(run, "p50", CLASSES[1], false, |load| load.latency_ms.p50),
        load_line(run, "p99", CLASSES[3], false, |load| load.latency_ms.p99),
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

fn load_line(
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

fn hpa_line(
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
