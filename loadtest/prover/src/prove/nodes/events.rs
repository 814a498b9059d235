//! The events of node autoscalers at `events.k8s.io/v1`.

use std::collections::{BTreeMap, HashSet};

use super::{
    super::timeline::EventMark,
    plan::AutoscalerKind,
    record::{NodeLife, NodesRecord},
};

/// The resolution of the times of events, in seconds.
const EVENT_RESOLUTION: f64 = 1.0;

/// The direction of a change of the number of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Up,
    Down,
}

/// The reasons that an autoscaler gives for new nodes or for their removal.
///
/// Karpenter: `pkg/events/reason.go` of sigs.k8s.io/karpenter, and the conditions of a `NodeClaim`, each change of which is
/// an event. cluster-autoscaler: `cluster-autoscaler/FAQ.md`, "What events are emitted by CA?".
fn reasons(autoscaler: AutoscalerKind, direction: Direction) -> &'static [&'static str] {
    match (autoscaler, direction) {
        (AutoscalerKind::Karpenter, Direction::Up) => &["Nominated", "Launched", "Registered", "Initialized"],
        (AutoscalerKind::Karpenter, Direction::Down) => &["DisruptionTerminating", "Drained"],
        (AutoscalerKind::ClusterAutoscaler, Direction::Up) => &["TriggeredScaleUp", "ScaledUpGroup"],
        (AutoscalerKind::ClusterAutoscaler, Direction::Down) => &["ScaleDown", "ScaleDownEmpty"],
    }
}

/// Counts the events of the autoscaler in a direction, by reporting controller and reason. Both kinds of autoscalers count,
/// because a cluster may have both. `load_ended` is in seconds since the load began.
pub(super) fn count<'a>(
    events: &'a [EventMark],
    record: &NodesRecord,
    direction: Direction,
    load_ended: f64,
) -> BTreeMap<(&'a str, &'a str), usize> {
    // The autoscaler may remove a node from before the load instead of a new one.
    let changed = |node: &&NodeLife| node.is_new || (direction == Direction::Down && node.gone.is_some());
    let names: HashSet<&str> = record
        .nodes
        .iter()
        .filter(changed)
        .flat_map(|node| [Some(node.name.as_str()), node.claim.as_deref()])
        .flatten()
        .collect();
    let is_counted = |event: &&EventMark| {
        let Some(kind) = AutoscalerKind::of_reporter(&event.reporter) else {
            return false;
        };
        reasons(kind, direction).contains(&event.reason.as_str())
            // A condition such as Launched may also become false.
            && !event.note.contains("-> False")
            && (kind == AutoscalerKind::ClusterAutoscaler || is_about(event, &names))
            && (direction == Direction::Up || event.at >= load_ended - EVENT_RESOLUTION)
    };
    let mut counts = BTreeMap::new();
    for event in events.iter().filter(is_counted) {
        *counts
            .entry((event.reporter.as_str(), event.reason.as_str()))
            .or_default() += 1;
    }
    counts
}

/// Returns whether an event of Karpenter is about one of these nodes and `NodeClaim`s. `Nominated` is about a pod, and names
/// the `NodeClaim` in its note: `Pod should schedule on: nodeclaim/default-1`. It also names nodes that were there before.
fn is_about(event: &EventMark, names: &HashSet<&str>) -> bool {
    let regarding = event.regarding.split_once('/');
    let mut words = event.note.split(|c: char| c.is_whitespace() || c == ',');
    regarding.is_some_and(|(_, name)| names.contains(name))
        || words.any(|word| {
            word.strip_prefix("nodeclaim/")
                .is_some_and(|claim| names.contains(claim))
        })
}

/// Names the reasons of both autoscalers.
pub(super) fn expected(direction: Direction) -> String {
    AutoscalerKind::ALL
        .map(|kind| format!("{}: {}", kind.name(), reasons(kind, direction).join(", ")))
        .join("; ")
}
