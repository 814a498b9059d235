//! The stages from the start of the step to the first request that a new pod serves.

use schemars::JsonSchema;
use serde::Serialize;

/// A stage between the start of the load and a new pod. The stages follow in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// A pod has counted a request of the step in its own metrics.
    Counted,
    /// Prometheus has scraped such a request.
    Scraped,
    /// The API of the metric shows the increase.
    Visible,
    /// The value of the metric is high enough for another pod.
    Enough,
    /// The HPA wants the pod.
    Decided,
    /// The pod exists.
    Created,
    /// Karpenter has created the `NodeClaim` of the new node that the pod waits for.
    Claimed,
    /// The instance of this node is launched.
    Launched,
    /// This node has joined the cluster.
    Registered,
    /// This node is ready.
    NodeReady,
    /// The pod has a node.
    Scheduled,
    /// The containers of the pod run.
    Started,
    /// The pod is ready.
    Ready,
    /// The pod has served a request.
    Served,
}

impl Stage {
    /// All stages, in order.
    pub const ALL: [Self; 14] = [
        Self::Counted,
        Self::Scraped,
        Self::Visible,
        Self::Enough,
        Self::Decided,
        Self::Created,
        Self::Claimed,
        Self::Launched,
        Self::Registered,
        Self::NodeReady,
        Self::Scheduled,
        Self::Started,
        Self::Ready,
        Self::Served,
    ];

    /// Returns the name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Counted => "counted",
            Self::Scraped => "scraped",
            Self::Visible => "visible",
            Self::Enough => "enough",
            Self::Decided => "decided",
            Self::Created => "created",
            Self::Claimed => "claimed",
            Self::Launched => "launched",
            Self::Registered => "registered",
            Self::NodeReady => "node ready",
            Self::Scheduled => "scheduled",
            Self::Started => "started",
            Self::Ready => "ready",
            Self::Served => "served",
        }
    }

    /// Returns a short description.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Counted => "a pod has counted a request of the step",
            Self::Scraped => "Prometheus has scraped such a request",
            Self::Visible => "the API of the metric shows the increase",
            Self::Enough => "the metric is high enough for another pod",
            Self::Decided => "the HPA wants the pod",
            Self::Created => "the pod exists",
            Self::Claimed => "Karpenter has created the NodeClaim of the pod's new node",
            Self::Launched => "the instance of the new node is launched",
            Self::Registered => "the new node has joined the cluster",
            Self::NodeReady => "the new node is ready",
            Self::Scheduled => "the pod has a node",
            Self::Started => "the containers of the pod run",
            Self::Ready => "the pod is ready",
            Self::Served => "the pod has served a request",
        }
    }

    /// Returns whether the reads may show the stage later than it was reached. A noisy metric may be high enough only
    /// between two reads. An HPA scales before it writes its status, and so do those who write the states of nodes.
    pub(super) fn may_show_late(self) -> bool {
        matches!(self, Self::Enough | Self::Decided) || self.is_of_node()
    }

    /// Returns whether the stage is one of a new node. Only pods on new nodes have these stages.
    #[must_use]
    pub fn is_of_node(self) -> bool {
        matches!(
            self,
            Self::Claimed | Self::Launched | Self::Registered | Self::NodeReady
        )
    }
}
