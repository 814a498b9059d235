//! What happened, second by second: the record that the verdict and the plots are made from.

use std::collections::{BTreeMap, BTreeSet};

use engine::{Snapshot, Summary};
use schemars::JsonSchema;
use serde::Serialize;

use super::plan::Expected;
use crate::cluster::NodeState;

/// As many events as are kept; a cluster in trouble can make them without end.
const EVENTS_KEPT: usize = 1000;

/// What the run is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// For the cluster to be at rest, before any load.
    Settling,
    /// For all replicas to be ready.
    ScalingUp,
    /// For the plateau to have lasted.
    Plateau,
    /// For the minimum, with a light load going on.
    ScalingDown,
    /// For nothing: the last look, without load.
    Closing,
}

impl Phase {
    /// The name in lines and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Settling => "settling",
            Self::ScalingUp => "scaling up",
            Self::Plateau => "plateau",
            Self::ScalingDown => "scaling down",
            Self::Closing => "closing",
        }
    }
}

/// One HPA and its Deployment at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct HpaSample {
    /// Replicas that the HPA wants.
    pub desired: i32,
    /// Replicas that the Deployment was told to have.
    pub wanted: i32,
    /// Pods that are ready.
    pub ready: i32,
    /// Pods that exist, those being deleted included.
    pub pods: usize,
    /// The metric summed over the pods, in its own unit (requests a second); nothing where it has no value.
    pub metric_sum: Option<f64>,
    /// Pods with a value.
    pub metric_pods: usize,
    /// The HPA's condition `ScalingLimited`; nothing where it has none.
    pub limited: Option<bool>,
    /// The reason of that condition.
    pub limited_reason: String,
}

/// The load at one moment. Totals are those of the step, or of the tail after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct LoadSample {
    /// Requests a second asked for.
    pub wanted: f64,
    /// Requests a second sent, since the sample before.
    pub achieved: f64,
    /// Requests sent so far.
    pub sent: u64,
    /// Requests failed so far.
    pub failed: u64,
    /// Requests under way.
    pub in_flight: u64,
    /// Latencies of what ended since the sample before, in milliseconds.
    pub latency_ms: Summary,
}

impl LoadSample {
    /// What lies between two snapshots of a load.
    #[must_use]
    pub fn between(before: &Snapshot, now: &Snapshot, wanted: f64) -> Self {
        let seconds = now.elapsed.saturating_sub(before.elapsed).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a count of about a second")]
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

/// The nodes at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NodesSample {
    /// How many there are.
    pub total: usize,
    /// How many of them are ready.
    pub ready: usize,
    /// In how many zones these are; 0 where nodes are not labelled with one.
    pub zones: usize,
}

impl NodesSample {
    /// Counts.
    #[must_use]
    pub fn of(nodes: &[NodeState]) -> Self {
        let ready = || nodes.iter().filter(|node| node.ready);
        let zones: BTreeSet<_> = ready().filter_map(|node| node.zone.as_ref()).collect();
        Self {
            total: nodes.len(),
            ready: ready().count(),
            zones: zones.len(),
        }
    }
}

/// Everything at one moment.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Sample {
    /// Seconds since the load began; negative before it.
    pub at: f64,
    /// What the run was waiting for.
    pub phase: Phase,
    /// The load, while there is one.
    pub load: Option<LoadSample>,
    /// By the HPA's name. Empty where the cluster could not be read.
    pub hpas: BTreeMap<String, HpaSample>,
    /// The nodes; nothing where they could not be read, as with rights to one namespace only.
    pub nodes: Option<NodesSample>,
    /// Why the cluster could not be read, or not all of it.
    pub problem: Option<String>,
}

/// An event that the cluster reported.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct EventMark {
    /// Seconds since the load began.
    pub at: f64,
    /// What it is about, as in `Pod/app-a-1`.
    pub regarding: String,
    /// Who says so, as in `default-scheduler`.
    pub reporter: String,
    /// In one word.
    pub reason: String,
    /// In a sentence.
    pub note: String,
    /// Whether it is a warning.
    pub warning: bool,
}

impl EventMark {
    /// Whether it is more than the everyday life of a pod: a warning, or a decision of an HPA or of who adds and takes away
    /// nodes.
    #[must_use]
    pub fn is_notable(&self) -> bool {
        let decides = |kind: &&str| self.regarding.starts_with(*kind);
        self.warning
            || ["HorizontalPodAutoscaler/", "Node/", "ConfigMap/"]
                .iter()
                .any(decides)
    }
}

/// The turning points, in seconds since the load began. Nothing for one that was not reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Marks {
    /// The cluster was at rest, in seconds since the load began.
    pub settled: Option<f64>,
    /// All replicas were ready, in seconds since the load began.
    pub plateau_began: Option<f64>,
    /// The plateau had lasted, in seconds since the load began.
    pub plateau_ended: Option<f64>,
    /// The load was taken away, in seconds since it began.
    pub load_ended: Option<f64>,
    /// Every HPA was back at its minimum, in seconds since the load began.
    pub back: Option<f64>,
}

/// How long each phase may take, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Deadlines {
    /// Until the cluster is at rest, in seconds.
    pub settle: f64,
    /// From the load's start until all replicas are ready, in seconds.
    pub scale_up: f64,
    /// How long they must stay, in seconds.
    pub plateau: f64,
    /// From the load's end until the minimum, in seconds.
    pub scale_down: f64,
}

/// The whole record.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Timeline {
    /// What each HPA had to do.
    pub expected: Vec<Expected>,
    /// The time it was given.
    pub deadlines: Deadlines,
    /// When it turned.
    pub marks: Marks,
    /// About one a second.
    pub samples: Vec<Sample>,
    /// In the order of time.
    pub events: Vec<EventMark>,
}

impl Timeline {
    /// An empty record.
    #[must_use]
    pub fn new(expected: Vec<Expected>, deadlines: Deadlines) -> Self {
        Self {
            expected,
            deadlines,
            marks: Marks::default(),
            samples: Vec::new(),
            events: Vec::new(),
        }
    }

    /// The samples of one phase.
    pub fn of_phase(&self, phase: Phase) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| sample.phase == phase)
    }

    /// Adds an event, as long as there is room.
    pub fn add_event(&mut self, event: EventMark) {
        if self.events.len() < EVENTS_KEPT {
            self.events.push(event);
        }
    }

    /// Makes `origin` the moment 0 of all that is recorded so far.
    pub(crate) fn shift(&mut self, origin: f64) {
        self.samples.iter_mut().for_each(|sample| sample.at -= origin);
        self.marks.settled = self.marks.settled.map(|at| at - origin);
    }
}
