//! Breaks down the time from the start of the step to the first request of each new pod: computes the time of each
//! stage, and its maximum error, from the trace. Pure functions.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    estimate::TimeEstimate,
    nodes::NodesRecord,
    plan::Expected,
    stage::Stage,
    trace::{PodTrace, TimeRange, Trace},
};

/// The time between two syncs of an HPA: the default of the controller's `--horizontal-pod-autoscaler-sync-period`, which
/// no API shows.
pub const SYNC_PERIOD: Duration = Duration::from_secs(15);

/// When a stage was reached, and how long it took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct StageTime {
    /// The stage.
    pub stage: Stage,
    /// The time since the load began; null if the stage was not seen.
    pub at: Option<TimeEstimate>,
    /// The time since the previous stage; null if one of the two was not seen.
    pub took: Option<TimeEstimate>,
}

impl StageTime {
    /// Returns the cells of a table row: the time since the load began, and the time since the previous stage.
    #[must_use]
    pub fn cells(&self) -> [String; 2] {
        [self.at, self.took].map(|time| {
            time.map_or("not seen".to_owned(), |time| {
                format!("{:.2} ±{:.2} s", time.seconds, time.error)
            })
        })
    }
}

/// The path from the start of the step to one new pod.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct PodPath {
    /// The name of the pod.
    pub pod: String,
    /// The stages, in order.
    pub stages: Vec<StageTime>,
}

impl PodPath {
    /// Describes the result of [`TimeToScale::last`] among `new_pods` new pods.
    #[must_use]
    pub fn describe_rank(&self, new_pods: usize) -> String {
        match self.reached(Stage::Ready) {
            Some(_) => format!("the last of {new_pods} new pods to become ready"),
            None => format!("which never became ready (one of {new_pods} new pods)"),
        }
    }

    /// Returns when a stage was reached, in seconds since the load began; `None` if it was not seen.
    #[must_use]
    pub fn reached(&self, stage: Stage) -> Option<f64> {
        let found = self.stages.iter().find(|time| time.stage == stage)?;
        found.at.map(|at| at.seconds)
    }
}

/// The breakdown of one HPA's time to scale.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct TimeToScale {
    /// The name of the HPA.
    pub hpa: String,
    /// How long before the load the HPA's last sync was, in seconds, computed from its first decision and the default sync
    /// period of 15 s; null if no decision was seen.
    pub since_sync: Option<TimeEstimate>,
    /// The path to each new pod, in the order of their creation.
    pub pods: Vec<PodPath>,
    /// The errors, by the source that could not be read, or by the stage that has no time.
    pub problems: BTreeMap<&'static str, String>,
}

impl TimeToScale {
    /// Computes the breakdown. `first_served` is the time of the first response of each pod, in seconds since the load
    /// began. With `nodes`, the path to a pod on a new node has the stages of the node.
    #[must_use]
    pub fn of(
        expected: &Expected,
        trace: &Trace,
        first_served: &BTreeMap<String, f64>,
        nodes: Option<&NodesRecord>,
    ) -> Self {
        let mut new_pods: Vec<(&String, &PodTrace)> = trace.pods.iter().collect();
        let created = |pod: &PodTrace| pod.created.map_or(f64::INFINITY, |created| created.latest);
        new_pods.sort_by(|one, other| created(one.1).total_cmp(&created(other.1)));
        let mut problems = trace.problems.clone();
        let mut pods = Vec::new();
        for ((name, pod), number) in new_pods.into_iter().zip(1..) {
            // The first decision that includes this pod.
            let decision = trace
                .decisions
                .iter()
                .find(|decision| decision.replicas >= expected.min + number);
            let answered = first_served.get(name).copied().map(TimeRange::exactly);
            let of_node = node_stages(name, pod, nodes);
            let mut stages: Vec<StageRange> = [
                (Stage::Counted, trace.counted),
                (Stage::Scraped, trace.scraped),
                (Stage::Visible, trace.visible()),
                (Stage::Enough, trace.enough),
                (Stage::Decided, decision.map(|decision| decision.time)),
                (Stage::Created, pod.created),
            ]
            .into_iter()
            .chain(of_node)
            .chain([
                (Stage::Scheduled, pod.scheduled),
                (Stage::Started, pod.started),
                (Stage::Ready, pod.ready),
                (Stage::Served, answered.or(pod.served)),
            ])
            .collect();
            for stage in narrow(&mut stages) {
                let problem = format!("{name}: seen only after a later stage");
                problems.insert(stage.name(), problem);
            }
            pods.push(PodPath {
                pod: name.clone(),
                stages: stage_times(&stages),
            });
        }
        Self {
            hpa: expected.hpa.clone(),
            since_sync: since_sync(trace),
            pods,
            problems,
        }
    }

    /// Returns the path to the pod that became ready last, or to a pod that never became ready. This is the time that
    /// the whole step took.
    #[must_use]
    pub fn last(&self) -> Option<&PodPath> {
        let ready = |path: &&PodPath| path.reached(Stage::Ready).unwrap_or(f64::INFINITY);
        self.pods
            .iter()
            .max_by(|one, other| ready(one).total_cmp(&ready(other)))
    }
}

/// Returns how long before the load the last sync was. The HPA decides in its syncs.
fn since_sync(trace: &Trace) -> Option<TimeEstimate> {
    let first = trace.decisions.first()?.time;
    let decided = TimeEstimate::between(first.earliest, first.latest);
    Some(TimeEstimate {
        seconds: (-decided.seconds).rem_euclid(SYNC_PERIOD.as_secs_f64()),
        ..decided
    })
}

/// Returns the stages of the new node of a pod that were seen. A stage that the node had reached before the pod existed took
/// the pod no time.
fn node_stages(name: &str, pod: &PodTrace, nodes: Option<&NodesRecord>) -> Vec<StageRange> {
    let Some(node) = nodes.and_then(|nodes| nodes.new_node_of(name)) else {
        return Vec::new();
    };
    let stages = [
        (Stage::Claimed, node.claimed),
        (Stage::Launched, node.launched),
        (Stage::Registered, node.registered),
        (Stage::NodeReady, node.ready),
    ];
    let stage = |(stage, time): (Stage, Option<TimeEstimate>)| {
        let range = time?.range();
        let was_before = |created: &TimeRange| range.latest < created.earliest;
        Some((stage, Some(pod.created.filter(was_before).unwrap_or(range))))
    };
    stages.into_iter().filter_map(stage).collect()
}

/// A stage and its time range; `None` if it was not seen.
type StageRange = (Stage, Option<TimeRange>);

/// Narrows the range of each stage by the other stages. Each stage follows from the previous one, so it was not reached
/// before the earliest time of an earlier stage, or after the latest time of a later stage. If the two limits
/// contradict each other, the stage counts as not seen and is returned: an assumption about the cluster is wrong.
fn narrow(stages: &mut [StageRange]) -> Vec<Stage> {
    let mut latest = f64::INFINITY;
    for range in stages.iter_mut().rev().filter_map(|(_, range)| range.as_mut()) {
        range.latest = range.latest.min(latest);
        latest = range.latest;
    }
    let mut earliest = 0.0;
    let mut contradicted = Vec::new();
    for (stage, slot) in stages {
        match slot {
            None => {}
            Some(range) if range.earliest <= range.latest => {
                range.earliest = range.earliest.max(earliest);
                earliest = range.earliest;
            }
            Some(range) if stage.may_show_late() => range.earliest = earliest,
            Some(_) => {
                contradicted.push(*stage);
                *slot = None;
            }
        }
    }
    contradicted
}

fn stage_times(stages: &[StageRange]) -> Vec<StageTime> {
    let start = Some(TimeRange::exactly(0.0));
    let previous = [start].into_iter().chain(stages.iter().map(|(_, range)| *range));
    stages
        .iter()
        .zip(previous)
        .map(|((stage, range), previous)| StageTime {
            stage: *stage,
            at: range.map(TimeEstimate::from),
            took: range.zip(previous).map(|(range, previous)| {
                TimeEstimate::between(
                    (range.earliest - previous.latest).max(0.0),
                    range.latest - previous.earliest,
                )
            }),
        })
        .collect()
}

#[cfg(test)]
mod tests;
