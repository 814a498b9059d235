//! The observations of one step on its way from the pods' metrics to the new pods.

use std::collections::BTreeMap;

use serde::Serialize;

/// The time that a watch may need to deliver a change, in seconds: a read without the change may be this late.
pub(super) const MAX_WATCH_DELAY: f64 = 0.25;

/// The time range of a change, in seconds since the load began: from the last read without the change to the first read
/// with it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TimeRange {
    /// The start of the last read that did not show the change.
    pub earliest: f64,
    /// The end of the first read that showed the change.
    pub latest: f64,
}

impl TimeRange {
    /// Creates the range of an exactly known time.
    #[must_use]
    pub fn exactly(at: f64) -> Self {
        Self {
            earliest: at,
            latest: at,
        }
    }
}

/// One read of the metric from its API, `custom.metrics.k8s.io` or `external.metrics.k8s.io`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MetricSample {
    /// The range from the start of the previous read to the end of this one.
    pub time: TimeRange,
    /// The sum over all pods, in requests per second.
    pub sum: f64,
}

/// A change of the number of replicas that an HPA wants.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Decision {
    /// The new number of replicas.
    pub replicas: i32,
    /// The time of the change.
    pub time: TimeRange,
}

/// The observations of one new pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodTrace {
    /// The pod exists.
    pub created: Option<TimeRange>,
    /// The pod has a node.
    pub scheduled: Option<TimeRange>,
    /// All containers of the pod run.
    pub started: Option<TimeRange>,
    /// The pod is ready.
    pub ready: Option<TimeRange>,
    /// The pod has counted a request.
    pub served: Option<TimeRange>,
    /// Whether the last read of the pod's own metrics succeeded.
    pub metrics_read: bool,
}

/// The observations of one HPA's chain.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// A pod has counted a request of the step.
    pub counted: Option<TimeRange>,
    /// Prometheus has scraped such a request.
    pub scraped: Option<TimeRange>,
    /// The values of the metric until they are high enough for another pod. The first is from before the step.
    pub metric: Vec<MetricSample>,
    /// The value of the metric is high enough for another pod.
    pub enough: Option<TimeRange>,
    /// The decisions of the HPA, in order.
    pub decisions: Vec<Decision>,
    /// The new pods, by name.
    pub pods: BTreeMap<String, PodTrace>,
    /// The errors of the sources whose last read failed.
    pub problems: BTreeMap<&'static str, String>,
}

impl Trace {
    /// Returns when the API of the metric first shows the step: when its value exceeds the maximum from before the first
    /// scrape of the step. Until that scrape, the value changes only because its window moves over earlier requests.
    #[must_use]
    pub fn visible(&self) -> Option<TimeRange> {
        let first_scrape = self.scraped.map_or(0.0, |scraped| scraped.earliest);
        let (before, since): (Vec<&MetricSample>, Vec<&MetricSample>) = self
            .metric
            .iter()
            .partition(|sample| sample.time.latest <= first_scrape);
        let max_before = before.into_iter().map(|sample| sample.sum).reduce(f64::max)?;
        // Any increase counts: a scrape right after the start of the step shows only a few requests.
        let increase = since.into_iter().find(|sample| sample.sum > max_before)?;
        Some(increase.time)
    }
}
