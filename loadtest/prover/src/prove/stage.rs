//! The stages between a step of the load and the first request that a new pod serves.

use schemars::JsonSchema;
use serde::Serialize;

/// What a step passes through on its way to a new pod, in this order. The load's beginning is the moment 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// A request of the step is in a pod's own metrics.
    Counted,
    /// Prometheus has read it.
    Scraped,
    /// The custom metrics API shows it.
    Visible,
    /// That API shows enough for another pod.
    Enough,
    /// The HPA wants the pod.
    Decided,
    /// The pod exists.
    Created,
    /// It has a node.
    Scheduled,
    /// Its containers run.
    Started,
    /// It is ready.
    Ready,
    /// It has served a request.
    Served,
}

impl Stage {
    /// All of them, in order.
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

    /// The name in reports.
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

    /// What has happened then, in a few words.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Counted => "a request of the step is in a pod's own metrics",
            Self::Scraped => "Prometheus has read it",
            Self::Visible => "the custom metrics API shows it",
            Self::Enough => "that API shows enough for another pod",
            Self::Decided => "the HPA wants the pod",
            Self::Created => "the pod exists",
            Self::Scheduled => "it has a node",
            Self::Started => "its containers run",
            Self::Ready => "it is ready",
            Self::Served => "it has served a request",
        }
    }

    /// Whether it may be there before it shows: enough of a metric that wobbles comes and goes between two looks, and an HPA
    /// scales before it writes down what it wants.
    pub(super) fn may_show_late(self) -> bool {
        matches!(self, Self::Enough | Self::Decided)
    }
}
