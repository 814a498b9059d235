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
    /// The custom metrics API shows the increase.
    Visible,
    /// The value in the custom metrics API is high enough for another pod.
    Enough,
    /// The HPA wants the pod.
    Decided,
    /// The pod exists.
    Created,
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
    pub const ALL: [Self; 10] = [
        Self::Counted,
        Self::Scraped,
        Self::Visible,
        Self::Enough,
        Self::Decided,
        Self::Created,
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
            Self::Visible => "the custom metrics API shows the increase",
            Self::Enough => "the metric is high enough for another pod",
            Self::Decided => "the HPA wants the pod",
            Self::Created => "the pod exists",
            Self::Scheduled => "the pod has a node",
            Self::Started => "the containers of the pod run",
            Self::Ready => "the pod is ready",
            Self::Served => "the pod has served a request",
        }
    }

    /// Returns whether the reads may show the stage later than it was reached. A noisy metric may be high enough only
    /// between two reads. An HPA scales before it writes its status.
    pub(super) fn may_show_late(self) -> bool {
        matches!(self, Self::Enough | Self::Decided)
    }
}
