//! What was seen of a step on its way to the new pods.

use std::collections::BTreeMap;

use serde::Serialize;

/// When something happened: after a look that did not show it had begun, and by the end of the first that did. In seconds
/// since the load began.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TimeRange {
    /// Not before.
    pub after: f64,
    /// Not later.
    pub by: f64,
}

impl TimeRange {
    /// At a moment that is known.
    #[must_use]
    pub fn exactly(at: f64) -> Self {
        Self { after: at, by: at }
    }
}

/// What the custom metrics API shows of all pods together at one look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MetricSample {
    /// The look, as if it were the first to show this.
    pub seen: TimeRange,
    /// Requests a second.
    pub sum: f64,
}

/// A count of replicas that an HPA came to want.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Decision {
    /// How many.
    pub replicas: i32,
    /// When.
    pub seen: TimeRange,
}

/// What was seen of a new pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodTrace {
    /// It was there.
    pub created: Option<TimeRange>,
    /// It had a node.
    pub scheduled: Option<TimeRange>,
    /// All its containers ran.
    pub started: Option<TimeRange>,
    /// It was ready.
    pub ready: Option<TimeRange>,
    /// It had counted a request.
    pub served: Option<TimeRange>,
    /// It was asked, and had counted none yet.
    pub asked: bool,
}

/// What was seen of one HPA's chain.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// A request of the step was in the metrics of a pod.
    pub counted: Option<TimeRange>,
    /// Prometheus had read it.
    pub scraped: Option<TimeRange>,
    /// What the custom metrics API showed, until that was enough; the first look is from before the step.
    pub metric: Vec<MetricSample>,
    /// That API showed enough for another pod.
    pub enough: Option<TimeRange>,
    /// What the HPA came to want, in order.
    pub decisions: Vec<Decision>,
    /// By name, those that were not there before.
    pub pods: BTreeMap<String, PodTrace>,
    /// What could not be looked at in the end, and why.
    pub problems: BTreeMap<&'static str, String>,
}

impl Trace {
    /// When the custom metrics API showed more than it does without the step. What it still shows of earlier requests goes
    /// up and down as its window moves on, and so as long as Prometheus has nothing of the step, none of it is the step's.
    #[must_use]
    pub fn visible(&self) -> Option<TimeRange> {
        let without = self.scraped.map_or(0.0, |scraped| scraped.after);
        let (before, since): (Vec<&MetricSample>, Vec<&MetricSample>) =
            self.metric.iter().partition(|look| look.seen.by <= without);
        let most = before.into_iter().map(|look| look.sum).reduce(f64::max)?;
        // However little: a scrape right after the step has few requests to show.
        let more = since.into_iter().find(|look| look.sum > most)?;
        Some(more.seen)
    }
}
