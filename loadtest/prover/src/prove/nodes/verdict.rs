//! Judges the nodes of a run. Pure functions.

use std::collections::{BTreeMap, BTreeSet};

use engine::units::short;

use super::{
    super::{
        assertion::{Assertion, PendingAssertion},
        timeline::Timeline,
    },
    events::{self, Direction},
    record::{NodeLife, NodesRecord},
    served::ServedByNode,
};

/// The number of zones that new nodes must be in if several zones are known and the user gives no number.
const DEFAULT_ZONES: usize = 2;

/// The number of objects that one observation names.
const NAMED: usize = 5;

/// Judges every assertion about the nodes, in the order of the run.
pub(in super::super) fn assess_nodes(
    timeline: &Timeline,
    record: &NodesRecord,
    served: &[ServedByNode],
) -> Vec<Assertion> {
    // Without a step, nothing about the nodes can be said.
    let end = timeline.marks.load_ended;
    vec![
        added(record, end),
        events_of(timeline, record, Direction::Up, end),
        ready(record, end, timeline.marks.plateau_began),
        spread(record, end),
        placed(record, end),
        all_served(record, served, timeline.marks.plateau_ended),
        removed(timeline, record),
        events_of(
            timeline,
            record,
            Direction::Down,
            end.filter(|_| timeline.marks.back.is_some() && record.back.is_some()),
        ),
    ]
}

fn new_at(record: &NodesRecord, end: f64) -> Vec<&NodeLife> {
    record.new_nodes().filter(|node| node.exists_at(end)).collect()
}

fn added(record: &NodesRecord, end: Option<f64>) -> Assertion {
    let before = record.before.nodes;
    let expected = format!("new nodes become ready during the step: more than the {before} before the load");
    let pending = PendingAssertion::new("nodes-added", None, expected);
    let Some(end) = end else {
        return pending.not_reached();
    };
    let ready: Vec<&NodeLife> = record.new_nodes().filter(|node| node.is_ready_at(end)).collect();
    let last = ready
        .iter()
        .filter_map(|node| Some(node.ready?.seconds))
        .fold(0.0, f64::max);
    if ready.is_empty() {
        let coming = new_at(record, end);
        let text = if coming.is_empty() {
            format!(
                "still {before}: no node was added; if the pods fit on {before}, use a larger step or larger requests, or \
                 wait until the nodes of an earlier run are gone"
            )
        } else {
            format!("still {before}: {}", describe(&coming, end))
        };
        return pending.passed_if(false, text);
    }
    pending.passed_if(
        record.most_ready > before,
        format!(
            "{before} -> {}: {} new, the last ready after {} s",
            record.most_ready,
            ready.len(),
            short(last)
        ),
    )
}

/// Names some nodes, with the stage that each has reached at a time.
fn describe(nodes: &[&NodeLife], at: f64) -> String {
    let stages = nodes
        .iter()
        .map(|node| format!("{} {}", node.place(), node.describe_stage(at)));
    named(stages)
}

/// Joins some descriptions, and counts the others.
fn named(all: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = all.collect();
    let more = all.len().saturating_sub(NAMED);
    let mut text = all[..all.len() - more].join("; ");
    if more > 0 {
        text = format!("{text}; and {more} more");
    }
    text
}

fn ready(record: &NodesRecord, end: Option<f64>, plateau_began: Option<f64>) -> Assertion {
    let pending = PendingAssertion::new(
        "nodes-ready",
        None,
        "every new node from before the plateau that is not being removed is ready at the end of the step",
    );
    let Some(end) = end else {
        return pending.not_reached();
    };
    // A replacement of a node may begin at any time.
    let latest = plateau_began.unwrap_or(end);
    let mut new = new_at(record, end);
    new.retain(|node| node.began().is_none_or(|began| began <= latest) && !node.is_leaving_at(end));
    let stuck: Vec<&NodeLife> = new
        .iter()
        .copied()
        .filter(|node| !node.is_ready_at(end))
        .collect();
    if stuck.is_empty() {
        return pending.passed_if(!new.is_empty(), format!("{0} of {0} ready", new.len()));
    }
    let text = format!(
        "{} of {} ready: {}",
        new.len() - stuck.len(),
        new.len(),
        describe(&stuck, end)
    );
    pending.passed_if(false, text)
}

fn spread(record: &NodesRecord, end: Option<f64>) -> Assertion {
    let plan = &record.plan;
    let labels = record.nodes.iter().filter_map(|node| node.zone.as_ref());
    let known: BTreeSet<&String> = plan
        .pool_zones
        .iter()
        .chain(labels)
        .chain(record.ready_by_zone.keys())
        .collect();
    let wanted = plan.zones.unwrap_or(DEFAULT_ZONES.min(known.len().max(1)));
    let skew_text = plan.max_skew.map_or(String::new(), |skew| {
        format!(", and no zone has more than {skew} ready nodes more than another")
    });
    let expected = format!(
        "the new nodes are in at least {wanted} of {} known zones{skew_text}",
        known.len()
    );
    let pending = PendingAssertion::new("nodes-spread", None, expected);
    let Some(end) = end else {
        return pending.not_reached();
    };
    let new = record.new_nodes().filter(|node| node.is_ready_at(end));
    let mut zones: BTreeMap<&str, usize> = BTreeMap::new();
    for node in new {
        *zones
            .entry(node.zone.as_deref().unwrap_or("no zone"))
            .or_default() += 1;
    }
    let total = |zone: &&String| record.ready_by_zone.get(*zone).copied().unwrap_or(0);
    let (most, least) = (known.iter().map(total).max(), known.iter().map(total).min());
    let skew = most.unwrap_or(0) - least.unwrap_or(0);
    let list = |zones: Vec<(&str, usize)>| {
        let parts = zones.into_iter().map(|(zone, count)| format!("{zone} {count}"));
        parts.collect::<Vec<_>>().join(", ")
    };
    let all = known.iter().map(|zone| (zone.as_str(), total(zone))).collect();
    let count: usize = zones.values().sum();
    let in_zones = zones.keys().filter(|zone| **zone != "no zone").count();
    let text = format!(
        "new nodes: {count}, zones: {in_zones} ({}); all ready nodes: {}, skew {skew}",
        if zones.is_empty() {
            "none".to_owned()
        } else {
            list(zones.into_iter().collect())
        },
        list(all)
    );
    // A single zone is known: the labels show no more, so nothing can be spread.
    let in_enough = in_zones >= wanted || (plan.zones.is_none() && known.len() <= 1 && count > 0);
    pending.passed_if(in_enough && plan.max_skew.is_none_or(|max| skew <= max), text)
}

fn placed(record: &NodesRecord, end: Option<f64>) -> Assertion {
    let pending = PendingAssertion::new("pods-placed", None, "every pod has a node at the end of the step");
    let Some(end) = end else {
        return pending.not_reached();
    };
    let pods: Vec<_> = record.pods.iter().filter(|pod| pod.exists_at(end)).collect();
    let waiting: Vec<_> = pods.iter().filter(|pod| pod.is_pending_at(end)).collect();
    if waiting.is_empty() {
        let on_new = pods
            .iter()
            .filter(|pod| record.new_node_of(&pod.pod).is_some())
            .count();
        let text = format!(
            "{0} of {0} pods have a node, {on_new} of them a new one",
            pods.len()
        );
        return pending.passed_if(!pods.is_empty(), text);
    }
    let texts = waiting.iter().map(|pod| {
        let since = pod.created.map_or(end, |created| end - created.seconds);
        let reason = pod.pending_reason.as_deref().unwrap_or("no reason given");
        format!("{} pending for {since:.0} s ({reason})", pod.pod)
    });
    pending.passed_if(
        false,
        format!("{} of {} pending: {}", waiting.len(), pods.len(), named(texts)),
    )
}

fn all_served(record: &NodesRecord, served: &[ServedByNode], end: Option<f64>) -> Assertion {
    let expected = "every new node with a pod of the HPAs serves requests of the step";
    let pending = PendingAssertion::new("nodes-served", None, expected);
    let Some(end) = end else {
        return pending.not_reached();
    };
    let has_pod = |row: &&ServedByNode| {
        let mut on_node = record
            .pods
            .iter()
            .filter(|pod| pod.node.as_ref() == Some(&row.node));
        on_node.any(|pod| pod.exists_at(end) && !pod.is_pending_at(end))
    };
    let new: Vec<&ServedByNode> = served.iter().filter(|row| row.is_new).filter(has_pod).collect();
    let total: f64 = served.iter().filter_map(ServedByNode::of_step).sum();
    if new.is_empty() {
        return pending.passed_if(false, "no new node runs a pod of the HPAs");
    }
    if new.iter().all(|row| row.of_step().is_none()) {
        let text = "no response names its pod (x-served-by), and Prometheus has no counts";
        return pending.passed_if(false, text);
    }
    let idle = new.iter().filter_map(|row| match row.of_step() {
        None => Some(format!("{} (no count)", row.place())),
        Some(count) => (count < 1.0).then(|| row.place()),
    });
    let idle: Vec<String> = idle.collect();
    if !idle.is_empty() {
        let text = format!(
            "{} of {} served nothing: {}",
            idle.len(),
            new.len(),
            named(idle.into_iter())
        );
        return pending.passed_if(false, text);
    }
    let count = |row: &&ServedByNode| row.of_step().unwrap_or(0.0);
    let by_new: f64 = new.iter().map(count).sum();
    let parts = new.iter().map(|row| format!("{} {:.0}", row.place(), count(row)));
    let text = format!(
        "new nodes served {by_new:.0} of {total:.0} requests: {}",
        named(parts)
    );
    pending.passed_if(true, text)
}

fn removed(timeline: &Timeline, record: &NodesRecord) -> Assertion {
    let (before, limit) = (record.before.nodes, record.plan.deadline_seconds);
    let expected = format!(
        "nodes: back at {before} within {} s after the pods, and still there at the end",
        short(limit)
    );
    let pending = PendingAssertion::new("nodes-removed", None, expected);
    let Some(pods_back) = timeline.marks.back else {
        return pending.not_reached();
    };
    let left: Vec<&NodeLife> = record.new_nodes().filter(|node| node.gone.is_none()).collect();
    let left = || {
        if left.is_empty() {
            String::new()
        } else {
            format!("; {}", describe(&left, record.ended))
        }
    };
    let count = if record.end.nodes > before {
        format!("nodes: {}", record.end.nodes)
    } else {
        format!(
            "NodeClaims: {}, before the load: {}",
            record.end.claims, record.before.claims
        )
    };
    match record.back {
        None => pending.passed_if(false, format!("still {count}{}", left())),
        Some(_) if !record.end.is_within(record.before) => {
            pending.passed_if(false, format!("at the end {count}{}", left()))
        }
        Some(back) => {
            let took = (back - pods_back).max(0.0);
            let text = format!("back at {} after {} s", record.end.nodes, short(took));
            pending.passed_if(took <= limit, text)
        }
    }
}

fn events_of(
    timeline: &Timeline,
    record: &NodesRecord,
    direction: Direction,
    load_ended: Option<f64>,
) -> Assertion {
    let (name, what) = match direction {
        Direction::Up => ("node-events-added", "the new nodes"),
        Direction::Down => ("node-events-removed", "their removal"),
    };
    let expected = format!("the node autoscaler reports {what} at events.k8s.io/v1");
    let pending = PendingAssertion::new(name, None, expected);
    let Some(load_ended) = load_ended else {
        return pending.not_reached();
    };
    let counts = events::count(&timeline.events, record, direction, load_ended);
    if counts.is_empty() {
        return pending.passed_if(false, format!("none of {}", events::expected(direction)));
    }
    let parts = counts
        .iter()
        .map(|((reporter, reason), count)| format!("{reporter} {reason} {count}"));
    pending.passed_if(true, parts.collect::<Vec<_>>().join(", "))
}
