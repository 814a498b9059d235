//! The numbers at the top of the page of `scale`: time to scale, lost requests, and the p99 before, during and after
//! the scale-out.

use std::collections::BTreeSet;

use engine::{LoadReport, units::short};
use prover::prove::{Expected, Phase, ScaleReport, ScaleRun};

use super::nodes::path;

/// The names of the periods of the step.
const PERIODS: [&str; 3] = ["before", "during", "after"];

/// A number with its label and an explanation.
pub(super) struct Number {
    pub(super) label: String,
    pub(super) value: String,
    pub(super) note: String,
    pub(super) is_bad: bool,
}

/// The numbers of one run, for the table of several runs.
pub(super) struct RunNumbers<'a> {
    pub(super) run: &'a ScaleRun,
    pub(super) wait: String,
    /// The time from a sync of each HPA to the start of the load.
    pub(super) since_sync: String,
    pub(super) scaled: String,
    pub(super) failed: u64,
    pub(super) p99: String,
}

/// Returns the numbers over all runs.
pub(super) fn numbers(report: &ScaleReport) -> Vec<Number> {
    let runs = &report.runs;
    let mut numbers: Vec<Number> = report
        .expected()
        .iter()
        .map(|hpa| {
            let times = runs.iter().map(|run| time_to_scale(run, hpa)).collect();
            let text = format!("until {} pods of {} were ready", hpa.replicas, hpa.hpa);
            number("time to scale".to_owned(), times, "s", &text)
        })
        .collect();
    numbers.extend(nodes(runs));
    let failed: u64 = runs.iter().map(failed).sum();
    let sent: u64 = runs.iter().flat_map(loads).map(|load| load.requests.sent).sum();
    numbers.push(Number {
        label: "requests lost".to_owned(),
        value: failed.to_string(),
        note: format!("of {sent} sent, in the step and the tail"),
        is_bad: failed > 0,
    });
    let texts = [
        "until an HPA wanted more pods",
        "until all pods were ready",
        "with all pods ready",
    ];
    for (index, text) in texts.into_iter().enumerate() {
        let values = runs.iter().map(|run| p99(run)[index]).collect();
        numbers.push(number(
            format!("p99 {} the scale-out", PERIODS[index]),
            values,
            "ms",
            text,
        ));
    }
    numbers
}

/// Returns the number of nodes before the load, during the step and at the end; `None` without `--nodes`.
fn nodes(runs: &[ScaleRun]) -> Option<Number> {
    let records: Vec<_> = runs
        .iter()
        .filter_map(|run| run.timeline.nodes.as_ref())
        .collect();
    let first = records.first()?;
    let paths: BTreeSet<String> = records.iter().map(|record| path(record)).collect();
    Some(Number {
        label: "nodes".to_owned(),
        value: list(paths.into_iter()),
        note: format!(
            "before the load, at most ready, at the end; zones at the end of the step: {}",
            first.ready_by_zone.len()
        ),
        is_bad: records
            .iter()
            .any(|record| record.end.nodes > record.before.nodes),
    })
}

/// Returns the numbers of each run.
pub(super) fn by_run(report: &ScaleReport) -> Vec<RunNumbers<'_>> {
    let or_dash = |value: Option<f64>| value.map_or("–".to_owned(), short);
    let numbers = report.runs.iter().map(|run| RunNumbers {
        run,
        wait: format!("{:.1}", run.start_wait_seconds),
        since_sync: list(run.time_to_scale.iter().map(|time| {
            time.since_sync.map_or("–".to_owned(), |since| {
                format!("{:.1} ±{:.1}", since.seconds, since.error)
            })
        })),
        scaled: list(
            report
                .expected()
                .iter()
                .map(|hpa| or_dash(time_to_scale(run, hpa))),
        ),
        failed: failed(run),
        p99: p99(run).map(or_dash).join(" / "),
    });
    numbers.collect()
}

fn list(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

/// Returns a single value, or the median and the worst of several. The note tells how many runs have no value.
fn number(label: String, values: Vec<Option<f64>>, unit: &str, text: &str) -> Number {
    let runs = values.len();
    let mut known: Vec<f64> = values.into_iter().flatten().collect();
    known.sort_by(f64::total_cmp);
    let missing = runs - known.len();
    let median = known
        .get(known.len() / 2)
        .zip(known.get(known.len().saturating_sub(1) / 2));
    let value = median.map_or("–".to_owned(), |(upper, lower)| {
        format!("{} {unit}", short(f64::midpoint(*lower, *upper)))
    });
    let mut note = text.to_owned();
    if let Some(worst) = known.last().filter(|_| runs > 1) {
        note = format!("median, worst {} {unit}; {text}", short(*worst));
    }
    if missing > 0 && runs > 1 {
        note = format!("{note}; not seen in {missing} of {runs} runs");
    }
    Number {
        label,
        value,
        note,
        is_bad: false,
    }
}

/// Returns the time from the start of the load until the expected number of pods was ready, in seconds.
fn time_to_scale(run: &ScaleRun, expected: &Expected) -> Option<f64> {
    let under_load = run
        .timeline
        .samples
        .iter()
        .filter(|sample| matches!(sample.phase, Phase::ScalingUp | Phase::Plateau));
    under_load
        .filter_map(|sample| Some((sample.at, sample.hpas.get(&expected.hpa)?)))
        .find(|(_, hpa)| hpa.ready == expected.replicas)
        .map(|(at, _)| at)
}

fn loads(run: &ScaleRun) -> impl Iterator<Item = &LoadReport> {
    run.step.iter().chain(&run.tail)
}

fn failed(run: &ScaleRun) -> u64 {
    loads(run).map(|load| load.requests.failed).sum()
}

/// Returns the p99 before, during and after the scale-out, in milliseconds.
fn p99(run: &ScaleRun) -> [Option<f64>; 3] {
    let (timeline, Some(step)) = (&run.timeline, &run.step) else {
        return [None; 3];
    };
    let wants_more = |hpa: &Expected| {
        let samples = timeline.samples.iter().filter(|sample| sample.at >= 0.0);
        samples
            .filter_map(|sample| Some((sample.at, sample.hpas.get(&hpa.hpa)?)))
            .find(|(_, sample)| sample.desired > hpa.min)
            .map(|(at, _)| at)
    };
    let decided = timeline
        .expected
        .iter()
        .filter_map(wants_more)
        .min_by(f64::total_cmp);
    let periods = [
        (Some(0.0), decided),
        (decided, timeline.marks.plateau_began),
        (timeline.marks.plateau_began, timeline.marks.plateau_ended),
    ];
    periods.map(|(from, to)| step.latency_between(from?, to?).p99)
}
