//! Traces a step through the chain, from the pods' own metrics to the last new pod, four times a second. One loop reads
//! each link, so that a hanging read does not delay the others. All times are from the local clock, so they do not
//! depend on the clocks of the cluster.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    task::JoinSet,
    time::{self, MissedTickBehavior},
};

use super::{
    plan::Expected,
    setup::Setup,
    trace::{TimeRange, Trace},
    traced_hpa::{HPA, METRIC, OWN_METRICS, PODS, PROMETHEUS, TracedHpa},
    watched_pods::WatchedPods,
};
use crate::cluster::{Cluster, ReadError, ReadResult};

/// The time between two reads of the same link. The average error of a time is half of it.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// The time limit for the reads before the step. If the API server does not reach the pods, each attempt takes as long as
/// a read may take.
const PREPARATION: Duration = Duration::from_secs(10);

/// The loops of all HPAs.
pub(super) struct Tracer {
    hpas: Vec<Arc<TracedHpa>>,
    loops: JoinSet<()>,
}

impl Tracer {
    /// Reads the state before the step, of all HPAs concurrently. Returns after [`PREPARATION`] at the latest: a link that
    /// cannot be read until then is not traced.
    pub(super) async fn prepare(
        cluster: &Cluster,
        setup: &Setup,
        hpas: Vec<(Expected, WatchedPods)>,
    ) -> Self {
        let deadline = time::Instant::now() + PREPARATION;
        let mut reads = JoinSet::new();
        for (expected, pods) in hpas {
            let hpa = TracedHpa::new(cluster, setup, expected, pods);
            reads.spawn(hpa.before_step(deadline));
        }
        Self {
            hpas: reads.join_all().await.into_iter().map(Arc::new).collect(),
            loops: JoinSet::new(),
        }
    }

    /// Starts the loops; `origin` is the start of the load.
    pub(super) fn begin(&mut self, origin: Instant) {
        let loops = &mut self.loops;
        for hpa in &self.hpas {
            let baseline = &hpa.baseline;
            if baseline.pods.is_empty() {
                continue;
            }
            let poller = Poller {
                hpa: Arc::clone(hpa),
                origin,
            };
            loops.spawn(poller.clone().poll(PODS, TracedHpa::pods, TracedHpa::record_pods));
            loops.spawn(
                poller
                    .clone()
                    .poll(HPA, TracedHpa::desired, TracedHpa::record_desired),
            );
            if !hpa.trace().metric.is_empty() {
                loops.spawn(
                    poller
                        .clone()
                        .poll(METRIC, TracedHpa::metric, TracedHpa::record_metric),
                );
            }
            if baseline.scraped.is_some() {
                let poller = poller.clone();
                loops.spawn(poller.poll(PROMETHEUS, TracedHpa::scraped, TracedHpa::record_scraped));
            }
            if baseline.counted.is_some() {
                loops.spawn(poller.poll(OWN_METRICS, TracedHpa::counted, TracedHpa::record_counted));
            }
        }
    }

    /// Stops the loops.
    pub(super) fn stop(&mut self) {
        self.loops.abort_all();
    }

    /// Returns the observations, by HPA.
    pub(super) fn traces(&self) -> BTreeMap<String, Trace> {
        let trace = |hpa: &Arc<TracedHpa>| (hpa.name().to_owned(), hpa.trace().clone());
        self.hpas.iter().map(trace).collect()
    }
}

/// Polls the links of one HPA; times count from `origin`.
#[derive(Clone)]
struct Poller {
    hpa: Arc<TracedHpa>,
    origin: Instant,
}

impl Poller {
    /// Reads a link again and again, until `record` returns that the trace of the link is complete.
    async fn poll<T, F: Future<Output = ReadResult<T>> + Send>(
        self,
        source: &'static str,
        read: impl Fn(Arc<TracedHpa>) -> F,
        record: impl Fn(&TracedHpa, &mut Trace, TimeRange, T) -> bool,
    ) {
        let Self { hpa, origin } = self;
        let now = || Instant::now().saturating_duration_since(origin).as_secs_f64();
        let mut ticks = time::interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut earliest = 0.0;
        loop {
            ticks.tick().await;
            let began = now();
            let found = read(Arc::clone(&hpa)).await;
            let time = TimeRange {
                earliest,
                latest: now(),
            };
            let mut trace = hpa.trace();
            match found {
                Ok(found) => {
                    trace.problems.remove(source);
                    if record(&hpa, &mut trace, time, found) {
                        return;
                    }
                    earliest = began;
                }
                Err(ReadError(problem)) => drop(trace.problems.insert(source, problem)),
            }
        }
    }
}
