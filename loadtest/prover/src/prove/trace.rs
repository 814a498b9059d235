//! What was seen of a step on its way to the new pods.

use std::collections::BTreeMap;

use serde::Serialize;

/// When something happened: after a look that did not show it had begun, and by the end of the first that did. In seconds
/// since the load began.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Seen {
    /// Not before.
    pub after: f64,
    /// Not later.
    pub by: f64,
}

impl Seen {
    /// At a moment that is known.
    #[must_use]
    pub fn exactly(at: f64) -> Self {
        Self { after: at, by: at }
    }
}

/// What the custom metrics API shows of all pods together at one look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MetricLook {
    /// The look, as if it were the first to show this.
    pub seen: Seen,
    /// Requests a second.
    pub sum: f64,
}

/// A count of replicas that an HPA came to want.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Decision {
    /// How many.
    pub replicas: i32,
    /// When.
    pub seen: Seen,
}

/// What was seen of a new pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodTrace {
    /// It was there.
    pub created: Option<Seen>,
    /// It had a node.
    pub scheduled: Option<Seen>,
    /// All its containers ran.
    pub started: Option<Seen>,
    /// It was ready.
    pub ready: Option<Seen>,
    /// It had counted a request.
    pub served: Option<Seen>,
    /// It was asked, and had counted none yet.
    pub asked: bool,
}

/// What was seen of one HPA's chain.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// A request of the step was in the metrics of a pod.
    pub counted: Option<Seen>,
    /// Prometheus had read it.
    pub scraped: Option<Seen>,
    /// What the custom metrics API showed, until that was enough; the first look is from before the step.
    pub metric: Vec<MetricLook>,
    /// That API showed enough for another pod.
    pub enough: Option<Seen>,
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
    pub fn visible(&self) -> Option<Seen> {
        let without = self.scraped.map_or(0.0, |scraped| scraped.after);
        let (before, since): (Vec<&MetricLook>, Vec<&MetricLook>) =
            self.metric.iter().partition(|look| look.seen.by <= without);
        let most = before.into_iter().map(|look| look.sum).reduce(f64::max)?;
        // However little: a scrape right after the step has few requests to show.
        let more = since.into_iter().find(|look| look.sum > most)?;
        Some(more.seen)
    }
}
