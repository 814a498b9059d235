//! The section about nodes on the page of `scale --nodes`.

use std::collections::{BTreeMap, BTreeSet};

use engine::units::to_f64;
use prover::prove::{NodeLife, NodesRecord, PodPlacement, ScaleRun, ServedByNode};

use super::{
    figure::count_and_percentage,
    lanes::{self, Axis, Lane},
    plot::CLASSES,
};

/// The maximum number of lanes and of rows in the table.
const MAX_LANES: usize = 40;

/// The class of a node without a zone label; the other classes are for zones.
const NO_ZONE: &str = CLASSES[0];

/// The section about the nodes of one run.
pub(super) struct NodesSection<'a> {
    pub(super) path: String,
    pub(super) autoscaler: &'static str,
    /// The CSS class and the name of each zone.
    pub(super) zones: Vec<(&'static str, String)>,
    pub(super) lanes: Vec<Lane>,
    /// The position in percent and the text of each tick.
    pub(super) ticks: Vec<(String, String)>,
    /// The number of nodes that are not drawn.
    pub(super) hidden: usize,
    /// The titles of the times in the rows.
    pub(super) stages: [&'static str; 6],
    pub(super) rows: Vec<(&'a NodeLife, [String; 6])>,
    pub(super) served: Vec<ServedRow<'a>>,
}

/// What the pods on one node served.
pub(super) struct ServedRow<'a> {
    pub(super) zone: &'a str,
    pub(super) node: &'a str,
    pub(super) age: &'static str,
    pub(super) pods: usize,
    pub(super) step: String,
    pub(super) tail: String,
}

/// Returns the section of a run; `None` without `--nodes`.
pub(super) fn section(run: &ScaleRun) -> Option<NodesSection<'_>> {
    let timeline = &run.timeline;
    let record = timeline.nodes.as_ref()?;
    let marks = &timeline.marks;
    let samples = &timeline.samples;
    let axis = Axis {
        from: samples.first().map_or(0.0, |sample| sample.at).min(0.0),
        to: samples.last().map_or(1.0, |sample| sample.at),
        plateau: marks.plateau_began.zip(marks.plateau_ended),
    };
    let names: BTreeSet<&String> = record
        .nodes
        .iter()
        .filter_map(|node| node.zone.as_ref())
        .collect();
    let zones: Vec<(&'static str, String)> = CLASSES[1..]
        .iter()
        .copied()
        .cycle()
        .zip(names.into_iter().cloned())
        .collect();
    let class = |node: &NodeLife| {
        let found = zones.iter().find(|(_, zone)| Some(zone) == node.zone.as_ref());
        found.map_or(NO_ZONE, |(class, _)| *class)
    };
    let mut pods: BTreeMap<&str, Vec<&PodPlacement>> = BTreeMap::new();
    for pod in &record.pods {
        pods.entry(pod.node.as_deref().unwrap_or_default())
            .or_default()
            .push(pod);
    }
    let shown = || record.nodes.iter().take(MAX_LANES);
    let lane = |node: &NodeLife| {
        let pods = pods
            .get(node.name.as_str())
            .map(Vec::as_slice)
            .unwrap_or_default();
        lanes::of_node(axis, node, class(node), pods)
    };
    let waiting = lanes::of_waiting_pods(axis, &record.pods);
    Some(NodesSection {
        path: path(record),
        autoscaler: record.plan.autoscaler.name(),
        lanes: waiting.into_iter().chain(shown().map(lane)).collect(),
        ticks: axis.ticks(),
        hidden: record.nodes.len().saturating_sub(MAX_LANES),
        stages: NodeLife::STAGES,
        rows: shown().map(|node| (node, node.cells())).collect(),
        served: served(&run.served),
        zones,
    })
}

/// Returns the numbers of nodes before the load, during the step, and at the end: `1 → 4 → 1`.
pub(super) fn path(record: &NodesRecord) -> String {
    record.path().replace("->", "→")
}

fn served(rows: &[ServedByNode]) -> Vec<ServedRow<'_>> {
    let step: f64 = rows.iter().filter_map(ServedByNode::of_step).sum();
    let tail: f64 = rows.iter().filter_map(|row| row.tail).map(to_f64).sum();
    let shown = rows.iter().take(MAX_LANES);
    shown
        .map(|row| ServedRow {
            zone: row.zone.as_deref().unwrap_or("-"),
            node: &row.node,
            age: row.age(),
            pods: row.pods,
            step: count_and_percentage(row.of_step(), step),
            tail: count_and_percentage(row.tail.map(to_f64), tail),
        })
        .collect()
}
