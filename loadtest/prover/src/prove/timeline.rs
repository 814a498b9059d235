//! The record of a run, second by second. The verdict and the plots use it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use engine::{Snapshot, Summary};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    nodes::{AutoscalerKind, NodesRecord},
    plan::Expected,
};
use crate::cluster::NodeState;

/// The number of events after which repetitions are not recorded. A failing cluster may report events without end.
const MAX_EVENTS: usize = 1000;

/// The phase of a run. In each phase, the run waits for one condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Waits until the cluster is idle, before the load.
    Settling,
    /// Waits until all replicas are ready.
    ScalingUp,
    /// Waits until the plateau has lasted as long as configured.
    Plateau,
    /// Waits until the HPAs are back at their minimum, under a light load.
    ScalingDown,
    /// Waits until there are no more nodes than before the load, under a light load. Only with `--nodes`.
    RemovingNodes,
    /// Takes the last samples, without load.
    Closing,
}

impl Phase {
    /// Returns the name in the timeline and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Settling => "settling",
            Self::ScalingUp => "scaling up",
            Self::Plateau => "plateau",
            Self::ScalingDown => "scaling down",
            Self::RemovingNodes => "node removal",
            Self::Closing => "closing",
        }
    }
}

/// The state of one HPA and its Deployment at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct HpaSample {
    /// The number of replicas that the HPA wants.
    pub desired: i32,
    /// The number of replicas in the spec of the Deployment.
    pub wanted: i32,
    /// The number of ready pods.
    pub ready: i32,
    /// The number of existing pods, including terminating pods, but not pods that failed, were evicted, or succeeded.
    pub pods: usize,
    /// The metric of all pods together, in its own unit (requests per second); null if the metric has no value. It is the
    /// sum over the pods, or the value of an external metric, times the ready pods if that is an average per pod.
    pub metric_sum: Option<f64>,
    /// The number of pods with a value of the metric; null if it cannot be read, or is an external metric, which has no
    /// values of single pods.
    pub metric_pods: Option<usize>,
    /// The HPA's condition `ScalingLimited`; null if the HPA does not report it.
    pub limited: Option<bool>,
    /// The reason of that condition.
    pub limited_reason: String,
}

impl HpaSample {
    /// Returns whether the HPA is at its minimum, and no surplus pod is left. A terminating pod still has requests.
    pub(super) fn is_at_minimum(&self, expected: &Expected) -> bool {
        let min = expected.min;
        self.desired == min && self.ready == min && usize::try_from(min).is_ok_and(|min| self.pods == min)
    }
}

/// The load at one moment. The totals count the requests of the step, or of the tail after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct LoadSample {
    /// The scheduled rate, in requests per second.
    pub wanted: f64,
    /// The rate sent since the previous sample, in requests per second.
    pub achieved: f64,
    /// The total number of requests sent.
    pub sent: u64,
    /// The total number of failed requests.
    pub failed: u64,
    /// The number of requests in flight.
    pub in_flight: u64,
    /// The latencies of the requests that finished since the previous sample, in milliseconds.
    pub latency_ms: Summary,
}

impl LoadSample {
    /// Computes the sample from two successive snapshots of the load. `wanted` is in requests per second.
    #[must_use]
    pub fn between(before: &Snapshot, now: &Snapshot, wanted: f64) -> Self {
        let seconds = now.elapsed.saturating_sub(before.elapsed).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "the count of about one second")]
        let sent = now.counts.sent.saturating_sub(before.counts.sent) as f64;
        Self {
            wanted,
            achieved: if seconds > 0.0 { sent / seconds } else { 0.0 },
            sent: now.counts.sent,
            failed: now.counts.failed,
            in_flight: now.counts.in_flight(),
            latency_ms: now.latency,
        }
    }
}

/// The nodes of the cluster at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NodesSample {
    /// The number of nodes.
    pub total: usize,
    /// The number of ready nodes.
    pub ready: usize,
    /// The number of zones with a ready node; 0 if the nodes have no zone label.
    pub zones: usize,
}

impl NodesSample {
    /// Counts nodes and zones.
    #[must_use]
    pub fn of(nodes: &[Arc<NodeState>]) -> Self {
        let ready = || nodes.iter().filter(|node| node.ready);
        let zones: BTreeSet<_> = ready().filter_map(|node| node.zone.as_ref()).collect();
        Self {
            total: nodes.len(),
            ready: ready().count(),
            zones: zones.len(),
        }
    }
}

/// One sample of the load and the cluster.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Sample {
    /// Seconds since the load began; negative before it.
    pub at: f64,
    /// The phase of the run.
    pub phase: Phase,
    /// The load; null if no load is running.
    pub load: Option<LoadSample>,
    /// The state of each HPA, by name. An HPA that could not be read has no entry.
    pub hpas: BTreeMap<String, HpaSample>,
    /// The nodes; null if they could not be read, for example without permission to list nodes, or, with `--nodes`, if the
    /// `NodeClaim`s could not be read.
    pub nodes: Option<NodesSample>,
    /// The error if some read of the cluster failed.
    pub problem: Option<String>,
}

/// An event that the cluster reported.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct EventMark {
    /// Seconds since the load began.
    pub at: f64,
    /// The kind and name of the object that the event is about, for example `Pod/app-a-1`.
    pub regarding: String,
    /// The component that reports the event, for example `default-scheduler`.
    pub reporter: String,
    /// The reason, one word.
    pub reason: String,
    /// The note, a sentence.
    pub note: String,
    /// Whether the event is a warning.
    pub warning: bool,
}

impl EventMark {
    /// Returns whether the event is a warning, or is about an HPA, a node or the cluster-autoscaler. The routine events
    /// of pods are not notable.
    #[must_use]
    pub fn is_notable(&self) -> bool {
        let decides = |kind: &&str| self.regarding.starts_with(*kind);
        self.warning
            || [
                "HorizontalPodAutoscaler/",
                "Node/",
                "NodeClaim/",
                "NodePool/",
                "ConfigMap/",
            ]
            .iter()
            .any(decides)
    }
}

/// The times between the phases, in seconds since the load began. A time is null if the run did not reach it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Marks {
    /// When the cluster was idle before the load, in seconds since the load began (negative).
    pub settled: Option<f64>,
    /// When all replicas were ready, in seconds since the load began.
    pub plateau_began: Option<f64>,
    /// When the plateau ended, in seconds since the load began.
    pub plateau_ended: Option<f64>,
    /// When the step ended, in seconds since the load began.
    pub load_ended: Option<f64>,
    /// When every HPA was back at its minimum, in seconds since the load began.
    pub back: Option<f64>,
}

/// The deadline of each phase, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Deadlines {
    /// The time until the cluster is idle, in seconds.
    pub settle: f64,
    /// The time from the start of the load until all replicas are ready, in seconds.
    pub scale_up: f64,
    /// The duration of the plateau, in seconds.
    pub plateau: f64,
    /// The time from the end of the step until every HPA is at its minimum, in seconds.
    pub scale_down: f64,
}

/// The record of a run.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Timeline {
    /// The expected scaling of each HPA.
    pub expected: Vec<Expected>,
    /// The deadlines of the phases.
    pub deadlines: Deadlines,
    /// The times between the phases.
    pub marks: Marks,
    /// The samples, about one per second.
    pub samples: Vec<Sample>,
    /// The events, ordered by time.
    pub events: Vec<EventMark>,
    /// The nodes; only with `--nodes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodesRecord>,
}

impl Timeline {
    /// Creates an empty record.
    #[must_use]
    pub fn new(expected: Vec<Expected>, deadlines: Deadlines) -> Self {
        Self {
            expected,
            deadlines,
            marks: Marks::default(),
            samples: Vec::new(),
            events: Vec::new(),
            nodes: None,
        }
    }

    /// Returns the samples of one phase.
    pub fn of_phase(&self, phase: Phase) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| sample.phase == phase)
    }

    /// Records an event. After 1,000 events, records only the first event of each reporter and reason, and of a node
    /// autoscaler also the first about each object, so that the many events of a large run do not hide its last ones.
    pub fn add_event(&mut self, event: EventMark) {
        let is_of_autoscaler = AutoscalerKind::of_reporter(&event.reporter).is_some();
        let is_repeated = |known: &EventMark| {
            known.reporter == event.reporter
                && known.reason == event.reason
                && (!is_of_autoscaler || known.regarding == event.regarding)
        };
        if self.events.len() < MAX_EVENTS || !self.events.iter().any(is_repeated) {
            self.events.push(event);
        }
    }

    /// Shifts all recorded times, so that `origin` becomes 0.
    pub(crate) fn shift(&mut self, origin: f64) {
        self.samples.iter_mut().for_each(|sample| sample.at -= origin);
        self.marks.settled = self.marks.settled.map(|at| at - origin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_events_do_not_hide_the_first_of_another_reason_or_about_another_node() {
        let event = |reporter: &str, reason: &str, regarding: &str| EventMark {
            at: 0.0,
            regarding: regarding.to_owned(),
            reporter: reporter.to_owned(),
            reason: reason.to_owned(),
            note: String::new(),
            warning: false,
        };
        let deadlines = Deadlines {
            settle: 0.0,
            scale_up: 0.0,
            plateau: 0.0,
            scale_down: 0.0,
        };
        let mut timeline = Timeline::new(Vec::new(), deadlines);
        for number in 0..2 * MAX_EVENTS {
            timeline.add_event(event("kubelet", "Pulled", &format!("Pod/{number}")));
        }
        assert_eq!(timeline.events.len(), MAX_EVENTS);
        for event in [
            event("kubelet", "Killing", "Pod/1"),
            event("karpenter", "DisruptionTerminating", "Node/1"),
            event("karpenter", "DisruptionTerminating", "Node/2"),
            event("kubelet", "Killing", "Pod/2"),
            event("karpenter", "DisruptionTerminating", "Node/2"),
        ] {
            timeline.add_event(event);
        }
        let late: Vec<_> = timeline.events[MAX_EVENTS..]
            .iter()
            .map(|event| event.regarding.as_str())
            .collect();
        assert_eq!(late, ["Pod/1", "Node/1", "Node/2"]);
    }
}
