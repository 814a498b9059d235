//! Judges the record of a run. Pure functions: the same record always gets the same verdict.

use engine::{
    Bounds, LoadReport, Threshold,
    units::{short, to_f64},
};

use super::{
    assertion::{Assertion, PendingAssertion, threshold},
    load_checks::{requests, valid},
    nodes::{ServedByNode, assess_nodes},
    plan::Expected,
    timeline::{HpaSample, Phase, Sample, Timeline},
};
use wiring::diagnosis::{Diagnosis, LinkState};

/// The duration at the end of the plateau over which the metric is compared with the load, in seconds.
const COMPARED_SECONDS: f64 = 30.0;

/// The maximum relative difference between the metric and the rate.
const METRIC_TOLERANCE: f64 = 0.1;

/// One of this many samples may lack a metric value. A busy machine may let one read time out, but a permanent failure
/// leaves more gaps.
const SAMPLES_PER_MISSING_VALUE: usize = 10;

/// The maximum time between two reads of the cluster, in seconds.
const MAX_GAP_SECONDS: f64 = 10.0;

/// The measurements in addition to the timeline.
#[derive(Clone, Copy, Debug)]
pub struct Measurements<'a> {
    /// The diagnoses of the chains before the load; empty if they were not checked.
    pub chains: &'a [Diagnosis],
    /// The report of the step.
    pub step: Option<&'a LoadReport>,
    /// The report of the light load while scaling down.
    pub tail: Option<&'a LoadReport>,
    /// The bounds for both loads.
    pub bounds: Bounds,
    /// The thresholds for the step.
    pub thresholds: &'a [Threshold],
    /// The requests by node; only with `--nodes`.
    pub served: &'a [ServedByNode],
}

/// Judges every assertion, in the order of the run.
#[must_use]
pub fn assess(timeline: &Timeline, measured: &Measurements<'_>) -> Vec<Assertion> {
    let mut assertions: Vec<Assertion> = measured.chains.iter().map(chain).collect();
    assertions.push(settled(timeline));
    for expected in &timeline.expected {
        assertions.extend([
            scaled_up(timeline, expected),
            never_more(timeline, expected),
            stayed(timeline, expected),
            not_limited(timeline, expected),
            metric_matches(timeline, expected, measured.step),
            scaled_down(timeline, expected),
        ]);
    }
    if let Some(record) = &timeline.nodes {
        assertions.extend(assess_nodes(timeline, record, measured.served));
    }
    assertions.push(watched(timeline));
    for (name, valid_name, load) in [
        ("step-requests", "step-valid", measured.step),
        ("tail-requests", "tail-valid", measured.tail),
    ] {
        if let Some(load) = load {
            assertions.push(requests(name, load, &measured.bounds));
            assertions.push(valid(valid_name, load, &measured.bounds));
        }
    }
    assertions.extend(
        measured
            .thresholds
            .iter()
            .map(|limit| threshold(limit, measured.step)),
    );
    assertions
}

fn chain(diagnosis: &Diagnosis) -> Assertion {
    let pending = PendingAssertion {
        name: "chain",
        hpa: Some(diagnosis.hpa.clone()),
        expected: "every link of the metrics chain works".to_owned(),
    };
    match diagnosis.root_cause() {
        None => pending.passed_if(diagnosis.is_healthy(), working_links(diagnosis)),
        Some(cause) => pending.passed_if(false, format!("{} is broken: {}", cause.link, cause.detail)),
    }
}

/// Counts the links that work, and names those that were not checked.
fn working_links(diagnosis: &Diagnosis) -> String {
    let of_state = |state| diagnosis.links.iter().filter(move |link| link.state == state);
    let works = format!(
        "{} of {} links work",
        of_state(LinkState::Ok).count(),
        diagnosis.links.len()
    );
    let unchecked: Vec<String> = of_state(LinkState::NotChecked)
        .map(|link| link.link.to_string())
        .collect();
    if unchecked.is_empty() {
        works
    } else {
        format!("{works}; not checked: {}", unchecked.join(", "))
    }
}

fn settled(timeline: &Timeline) -> Assertion {
    let limit = short(timeline.deadlines.settle);
    let pending = PendingAssertion::new(
        "settled",
        None,
        format!("idle at the minimum within {limit} s, before the load"),
    );
    match (timeline.marks.settled, timeline.samples.last()) {
        (Some(_), _) => {
            let idle = timeline.of_phase(Phase::Settling).last();
            pending.passed_if(true, idle.map_or("idle at the minimum".to_owned(), describe))
        }
        (None, None) => pending.not_reached(),
        (None, Some(sample)) => {
            let nodes = timeline.nodes.as_ref().and_then(|nodes| nodes.unsettled.as_ref());
            let nodes = nodes.map(|reason| format!("; {reason}")).unwrap_or_default();
            pending.passed_if(false, format!("not idle: {}{nodes}", describe(sample)))
        }
    }
}

fn describe(sample: &Sample) -> String {
    let hpas = sample.hpas.iter().map(|(name, hpa)| {
        let metric = hpa.metric_sum.map_or("no metric value".to_owned(), |sum| {
            format!("metric {}", short(sum))
        });
        format!(
            "{name} wants {}, {} of {} pods ready, {metric}",
            hpa.desired, hpa.ready, hpa.pods
        )
    });
    hpas.chain(sample.problem.clone()).collect::<Vec<_>>().join("; ")
}

fn scaled_up(timeline: &Timeline, expected: &Expected) -> Assertion {
    let limit = timeline.deadlines.scale_up;
    let replicas = expected.replicas;
    let pending = PendingAssertion::new(
        "scaled-up",
        Some(expected),
        format!("exactly {replicas} ready within {} s", short(limit)),
    );
    let ready = samples_under_load(timeline, expected)
        .find(|(_, hpa)| hpa.ready == replicas)
        .map(|(sample, _)| sample.at);
    let most = samples_under_load(timeline, expected)
        .map(|(_, hpa)| hpa.ready)
        .max();
    match (ready, most) {
        (Some(at), _) => pending.passed_if(at <= limit, format!("{replicas} ready after {} s", short(at))),
        (None, Some(most)) => pending.passed_if(false, format!("never: at most {most} ready")),
        (None, None) => pending.not_reached(),
    }
}

/// Returns the samples of an HPA during the step.
fn samples_under_load<'a>(
    timeline: &'a Timeline,
    expected: &'a Expected,
) -> impl Iterator<Item = (&'a Sample, &'a HpaSample)> {
    let phases = [Phase::ScalingUp, Phase::Plateau];
    let samples = timeline
        .samples
        .iter()
        .filter(move |sample| phases.contains(&sample.phase));
    samples.filter_map(|sample| Some((sample, sample.hpas.get(&expected.hpa)?)))
}

fn never_more(timeline: &Timeline, expected: &Expected) -> Assertion {
    let replicas = expected.replicas;
    let pending = PendingAssertion::new(
        "never-more",
        Some(expected),
        format!("never more than {replicas} replicas wanted or ready"),
    );
    let all = timeline
        .samples
        .iter()
        .filter(|sample| sample.phase != Phase::Settling);
    let most = all
        .filter_map(|sample| Some((sample.at, sample.hpas.get(&expected.hpa)?)))
        .map(|(at, hpa)| (hpa.desired.max(hpa.wanted).max(hpa.ready), at))
        .max_by(|first, second| first.0.cmp(&second.0).then(second.1.total_cmp(&first.1)));
    match most {
        None => pending.not_reached(),
        Some((most, _)) if most <= replicas => pending.passed_if(true, format!("at most {most}")),
        Some((most, at)) => {
            let reason = expected.metric.overshoot().map(|reason| format!("; {reason}"));
            let text = format!("{most} after {} s{}", short(at), reason.unwrap_or_default());
            pending.passed_if(false, text)
        }
    }
}

fn stayed(timeline: &Timeline, expected: &Expected) -> Assertion {
    let replicas = expected.replicas;
    let length = short(timeline.deadlines.plateau);
    let pending = PendingAssertion::new(
        "stayed",
        Some(expected),
        format!("{replicas} ready and wanted throughout the plateau of {length} s"),
    );
    let mut plateau = timeline
        .of_phase(Phase::Plateau)
        .filter_map(|sample| Some((sample.at, sample.hpas.get(&expected.hpa)?)));
    let off = plateau.find(|(_, hpa)| hpa.ready != replicas || hpa.desired != replicas);
    match (off, timeline.marks.plateau_ended) {
        (Some((at, hpa)), _) => pending.passed_if(
            false,
            format!(
                "{} ready, {} wanted after {} s",
                hpa.ready,
                hpa.desired,
                short(at)
            ),
        ),
        (None, Some(_)) => {
            let samples = timeline.of_phase(Phase::Plateau);
            let count = samples
                .filter(|sample| sample.hpas.contains_key(&expected.hpa))
                .count();
            pending.passed_if(
                true,
                format!("{replicas} of {replicas} ready in {count} of {count} samples"),
            )
        }
        (None, None) => pending.not_reached(),
    }
}

/// Returns the last [`COMPARED_SECONDS`] of samples of the plateau. Empty if the plateau did not end.
fn end_of_plateau<'a>(timeline: &'a Timeline, expected: &'a Expected) -> Vec<(&'a Sample, &'a HpaSample)> {
    let Some(end) = timeline.marks.plateau_ended else {
        return Vec::new();
    };
    let samples = timeline
        .of_phase(Phase::Plateau)
        .filter(|sample| sample.at >= end - COMPARED_SECONDS);
    samples
        .filter_map(|sample| Some((sample, sample.hpas.get(&expected.hpa)?)))
        .collect()
}

fn not_limited(timeline: &Timeline, expected: &Expected) -> Assertion {
    let pending = PendingAssertion::new(
        "not-limited",
        Some(expected),
        "ScalingLimited is False at the end of the plateau: the metric decides",
    );
    let end = end_of_plateau(timeline, expected);
    if end.is_empty() {
        return pending.not_reached();
    }
    match end.iter().find(|(_, hpa)| hpa.limited != Some(false)) {
        None => pending.passed_if(true, format!("False in {0} of {0} samples", end.len())),
        Some((sample, hpa)) => {
            let state = if hpa.limited.is_some() {
                "True"
            } else {
                "not reported"
            };
            pending.passed_if(
                false,
                format!("{state} after {} s: {}", short(sample.at), hpa.limited_reason),
            )
        }
    }
}

fn metric_matches(timeline: &Timeline, expected: &Expected, step: Option<&LoadReport>) -> Assertion {
    let text = format!(
        "{} is within {} % of the sent rate, averaged over the plateau's last {} s",
        expected.metric.describe_total(),
        short(METRIC_TOLERANCE * 100.0),
        short(COMPARED_SECONDS)
    );
    let pending = PendingAssertion::new("metric-matches", Some(expected), text);
    let end = end_of_plateau(timeline, expected);
    let (Some(step), Some(first), Some(last)) = (step, end.first(), end.last()) else {
        return pending.not_reached();
    };
    let seconds = last.0.at - first.0.at;
    let (Some(sent_first), Some(sent_last)) = (first.0.load, last.0.load) else {
        return pending.not_reached();
    };
    if seconds <= 0.0 {
        return pending.not_reached();
    }
    let values: Vec<f64> = end.iter().filter_map(|(_, hpa)| hpa.metric_sum).collect();
    let missing = end.len() - values.len();
    if missing * SAMPLES_PER_MISSING_VALUE > end.len() {
        return pending.passed_if(false, format!("{missing} of {} samples have no value", end.len()));
    }
    let share = expected.rate / step.rates.requested;
    let sent = to_f64(sent_last.sent - sent_first.sent) / seconds * share;
    let metric = values.iter().sum::<f64>() / to_f64(values.len() as u64);
    let off = metric / sent - 1.0;
    let not_checked = expected.metric.blind_spot();
    let text = format!(
        "metric {}, sent {} ({:+.1} %){}",
        short(metric),
        short(sent),
        off * 100.0,
        not_checked.map_or(String::new(), |what| format!("; not checked: {what}"))
    );
    pending.passed_if(off.abs() <= METRIC_TOLERANCE, text)
}

fn scaled_down(timeline: &Timeline, expected: &Expected) -> Assertion {
    let (min, limit) = (expected.min, timeline.deadlines.scale_down);
    let text = format!(
        "back at {min} pods within {} s after the load, and still there at the end",
        short(limit)
    );
    let pending = PendingAssertion::new("scaled-down", Some(expected), text);
    let Some(ended) = timeline.marks.load_ended else {
        return pending.not_reached();
    };
    let after = timeline.samples.iter().filter(|sample| sample.at > ended);
    let after: Vec<_> = after
        .filter_map(|sample| Some((sample, sample.hpas.get(&expected.hpa)?)))
        .collect();
    let is_at_minimum = |hpa: &HpaSample| hpa.is_at_minimum(expected);
    let counts = |hpa: &HpaSample| format!("{} ready, {} wanted, {} pods", hpa.ready, hpa.desired, hpa.pods);
    match (after.iter().find(|(_, hpa)| is_at_minimum(hpa)), after.last()) {
        (_, None) => pending.not_reached(),
        (None, Some((_, hpa))) => pending.passed_if(false, format!("still {}", counts(hpa))),
        (Some(_), Some((sample, hpa))) if !is_at_minimum(hpa) || sample.phase != Phase::Closing => {
            pending.passed_if(false, format!("{} at the end", counts(hpa)))
        }
        (Some((sample, _)), _) => {
            let took = sample.at - ended;
            pending.passed_if(took <= limit, format!("back at {min} after {} s", short(took)))
        }
    }
}

fn watched(timeline: &Timeline) -> Assertion {
    let pending = PendingAssertion::new(
        "watched",
        None,
        format!("the cluster was read at least every {} s", short(MAX_GAP_SECONDS)),
    );
    let complete = |sample: &&Sample| {
        let mut expected = timeline.expected.iter();
        expected.all(|expected| sample.hpas.contains_key(&expected.hpa))
            && (timeline.nodes.is_none() || sample.nodes.is_some())
    };
    let ends =
        [timeline.samples.first(), timeline.samples.last()].map(|sample| sample.map(|sample| sample.at));
    let [Some(first), Some(last)] = ends else {
        return pending.not_reached();
    };
    let reads = timeline.samples.iter().filter(complete).map(|sample| sample.at);
    let times: Vec<f64> = [first].into_iter().chain(reads).chain([last]).collect();
    let gap = times
        .windows(2)
        .map(|pair| (pair[1] - pair[0], pair[0]))
        .max_by(|first, second| first.0.total_cmp(&second.0));
    match gap {
        Some((gap, from)) if gap > MAX_GAP_SECONDS => {
            let why = timeline
                .samples
                .iter()
                .filter(|sample| sample.at >= from)
                .find_map(|sample| sample.problem.as_deref());
            let why = why.unwrap_or("no response in time");
            pending.passed_if(
                false,
                format!("no read for {} s, from {} s on: {why}", short(gap), short(from)),
            )
        }
        longest => {
            let gap = longest.map_or(0.0, |(gap, _)| gap);
            let reads = times.len() - 2;
            pending.passed_if(true, format!("{reads} reads, at most {} s apart", short(gap)))
        }
    }
}
