//! The record of the nodes of a run, and of the pods on them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::{super::estimate::TimeEstimate, plan::NodesPlan};

/// The number of nodes and of `NodeClaim`s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NodeCount {
    /// The number of nodes.
    pub nodes: usize,
    /// The number of Karpenter's `NodeClaim`s; 0 without Karpenter. A `NodeClaim` exists until the instance is gone.
    pub claims: usize,
}

impl NodeCount {
    /// Returns whether there are no more nodes and `NodeClaim`s than in `other`.
    pub(super) fn is_within(self, other: Self) -> bool {
        self.nodes <= other.nodes && self.claims <= other.claims
    }
}

/// The life of one node. A node that existed before the load has no times until it leaves. All times are since the load
/// began, and null if they were not seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct NodeLife {
    /// The name of the node, or of the `NodeClaim` before the node has joined.
    pub name: String,
    /// The name of the `NodeClaim`; null without Karpenter.
    pub claim: Option<String>,
    /// The zone; null without a zone label.
    pub zone: Option<String>,
    /// The instance type; null without such a label.
    pub instance_type: Option<String>,
    /// Whether the node came during the run.
    pub is_new: bool,
    /// When Karpenter created the `NodeClaim`.
    pub claimed: Option<TimeEstimate>,
    /// When the instance was launched.
    pub launched: Option<TimeEstimate>,
    /// When the node had joined the cluster: Karpenter's condition `Registered`, or the creation of the Node.
    pub registered: Option<TimeEstimate>,
    /// When the node became ready.
    pub ready: Option<TimeEstimate>,
    /// When the node was ready and had all its resources: Karpenter's condition `Initialized`.
    pub initialized: Option<TimeEstimate>,
    /// Since when a node that was ready was not ready, without being removed. Null if it was always ready, or was ready again
    /// before the end of the step. A recovery after the step does not change the time.
    pub not_ready_since: Option<TimeEstimate>,
    /// When the removal began: the node was tainted or deleted. Null if the removal was taken back.
    pub leaving: Option<TimeEstimate>,
    /// When the node and its `NodeClaim` no longer existed.
    pub gone: Option<TimeEstimate>,
    /// The last message about a stage that was not reached.
    pub problem: Option<String>,
}

impl NodeLife {
    /// The names of the stages that a report lists.
    pub const STAGES: [&str; 6] = ["claimed", "launched", "registered", "ready", "leaving", "gone"];

    /// Returns the first time at which the node was seen, in seconds since the load began; `None` if it was there before.
    #[must_use]
    pub fn began(&self) -> Option<f64> {
        let times = [self.claimed, self.launched, self.registered, self.ready];
        times.into_iter().flatten().next().map(|time| time.seconds)
    }

    /// Returns the times of [`Self::STAGES`].
    #[must_use]
    pub fn stages(&self) -> [Option<TimeEstimate>; 6] {
        [
            self.claimed,
            self.launched,
            self.registered,
            self.ready,
            self.leaving,
            self.gone,
        ]
    }

    /// Returns the cells of a table row: the times of [`Self::STAGES`], in seconds since the load began.
    #[must_use]
    pub fn cells(&self) -> [String; 6] {
        self.stages()
            .map(|time| time.map_or("-".to_owned(), |time| format!("{:.1}", time.seconds)))
    }

    /// Returns whether the node, or its `NodeClaim`, existed at a time.
    pub(super) fn exists_at(&self, at: f64) -> bool {
        self.began().is_none_or(|began| began <= at) && self.gone.is_none_or(|gone| gone.seconds > at)
    }

    /// Returns whether the node was ready at a time.
    pub(super) fn is_ready_at(&self, at: f64) -> bool {
        let reached = |time: Option<TimeEstimate>| time.is_some_and(|time| time.seconds <= at);
        let was_ready = if self.is_new { reached(self.ready) } else { true };
        was_ready && self.exists_at(at) && !reached(self.not_ready_since)
    }

    /// Returns whether the node was being removed at a time.
    pub(super) fn is_leaving_at(&self, at: f64) -> bool {
        self.leaving.is_some_and(|leaving| leaving.seconds <= at)
    }

    /// Describes the last stage that the node has reached at a time.
    pub(super) fn describe_stage(&self, at: f64) -> String {
        let stages = [
            ("claimed", self.claimed),
            ("launched", self.launched),
            ("registered", self.registered),
            ("ready", self.ready),
            ("not ready", self.not_ready_since),
            ("being removed", self.leaving),
        ];
        let reached = stages
            .into_iter()
            .filter_map(|(name, time)| Some((name, time?.seconds)));
        let last = reached.rev().find(|(_, since)| *since <= at);
        let problem = self.problem.as_ref().filter(|_| self.ready.is_none());
        let problem = problem.map(|problem| format!(": {problem}")).unwrap_or_default();
        match last {
            Some((name, since)) => format!("{name} for {:.0} s{problem}", at - since),
            None => format!("there before the load{problem}"),
        }
    }

    /// Returns the name and the zone.
    #[must_use]
    pub fn place(&self) -> String {
        place(&self.name, self.zone.as_deref())
    }
}

/// Returns the name of a node and its zone.
pub(super) fn place(node: &str, zone: Option<&str>) -> String {
    match zone {
        Some(zone) => format!("{node} ({zone})"),
        None => node.to_owned(),
    }
}

/// One pod of an HPA, and its node. A pod that existed before the load has no times until it is gone. All times are since
/// the load began, and null if they were not seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct PodPlacement {
    /// The HPA of the pod.
    pub hpa: String,
    /// The name of the pod.
    pub pod: String,
    /// The node; null before the pod has one.
    pub node: Option<String>,
    /// When the pod was created.
    pub created: Option<TimeEstimate>,
    /// When the pod got its node.
    pub placed: Option<TimeEstimate>,
    /// When the pod no longer existed.
    pub gone: Option<TimeEstimate>,
    /// Why the pod had no node, as the scheduler last put it.
    pub pending_reason: Option<String>,
}

impl PodPlacement {
    /// Returns whether the pod existed at a time.
    pub(super) fn exists_at(&self, at: f64) -> bool {
        self.created.is_none_or(|created| created.seconds <= at)
            && self.gone.is_none_or(|gone| gone.seconds > at)
    }

    /// Returns whether the pod had no node at a time.
    pub(super) fn is_pending_at(&self, at: f64) -> bool {
        let placed = match self.placed {
            Some(placed) => placed.seconds <= at,
            // Without a time, the pod got its node before the load.
            None => self.node.is_some(),
        };
        self.exists_at(at) && !placed
    }
}

/// The record of the nodes of a run.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct NodesRecord {
    /// What the run expects.
    pub plan: NodesPlan,
    /// The numbers before the load.
    pub before: NodeCount,
    /// The largest number of ready nodes during the step.
    pub most_ready: usize,
    /// The number of ready nodes at the end of the step, by zone; nodes without a zone label do not count.
    pub ready_by_zone: BTreeMap<String, usize>,
    /// When the numbers were as before the load again, in seconds since the load began; null if they never were.
    pub back: Option<f64>,
    /// The numbers at the end of the run.
    pub end: NodeCount,
    /// The time of the last read, in seconds since the load began.
    pub ended: f64,
    /// Why the nodes did not count as settled before the load; null if they were settled.
    pub unsettled: Option<String>,
    /// The nodes that came during the run, and those from before it that ran a pod of an HPA. Ordered by their beginning.
    pub nodes: Vec<NodeLife>,
    /// The pods of the HPAs, ordered by their creation.
    pub pods: Vec<PodPlacement>,
}

impl NodesRecord {
    /// Returns the nodes that came during the run.
    pub fn new_nodes(&self) -> impl Iterator<Item = &NodeLife> {
        self.nodes.iter().filter(|node| node.is_new)
    }

    /// Returns the new node on which a pod was placed; `None` if the pod has no node, or one from before the load.
    #[must_use]
    pub fn new_node_of(&self, pod: &str) -> Option<&NodeLife> {
        let found = self.pods.iter().find(|placement| placement.pod == pod)?;
        let node = found.node.as_ref()?;
        self.new_nodes().find(|life| life.name == *node)
    }

    /// Returns the numbers of nodes before the load, during the step, and at the end: `1 -> 4 -> 1`.
    #[must_use]
    pub fn path(&self) -> String {
        format!(
            "{} -> {} -> {}",
            self.before.nodes, self.most_ready, self.end.nodes
        )
    }
}
