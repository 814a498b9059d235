//! Follows a step through the chain, from the pods' own metrics to the last new pod, several times a second. Each link
//! has a loop of its own, so that a read that hangs hides nothing else; and all is timed by this machine's clock, so that
//! the cluster's need not agree with it.

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
    setup::Setup,
    subject::{HPA, METRIC, OWN_METRICS, PODS, PROMETHEUS, TracedHpa},
    trace::{TimeRange, Trace},
};
use crate::cluster::{Cluster, ReadResult, ReadError};

/// Between two looks at the same link. Half of it is how far off a time is on average.
const PERIOD: Duration = Duration::from_millis(250);

/// The loops of all HPAs.
pub(super) struct Tracer {
    subjects: Vec<Arc<TracedHpa>>,
    loops: JoinSet<()>,
}

impl Tracer {
    /// Reads how things are before the step.
    pub(super) async fn prepare(cluster: &Cluster, setup: &Setup) -> Self {
        let mut subjects = Vec::new();
        for expected in &setup.expected {
            let subject = TracedHpa::before_the_step(cluster, setup, expected).await;
            subjects.push(Arc::new(subject));
        }
        Self {
            subjects,
            loops: JoinSet::new(),
        }
    }

    /// Begins to look; `origin` is when the load began.
    pub(super) fn begin(&mut self, origin: Instant) {
        let loops = &mut self.loops;
        for subject in &self.subjects {
            let before = &subject.before;
            if before.pods.is_empty() {
                continue;
            }
            let look = Look {
                subject: Arc::clone(subject),
                origin,
            };
            loops.spawn(look.clone().watch(PODS, TracedHpa::pods, TracedHpa::note_pods));
            loops.spawn(look.clone().watch(HPA, TracedHpa::desired, TracedHpa::note_desired));
            if !subject.trace().metric.is_empty() {
                loops.spawn(look.clone().watch(METRIC, TracedHpa::metric, TracedHpa::note_metric));
            }
            if before.scraped.is_some() {
                let look = look.clone();
                loops.spawn(look.watch(PROMETHEUS, TracedHpa::scraped, TracedHpa::note_scraped));
            }
            if before.counted.is_some() {
                loops.spawn(look.watch(OWN_METRICS, TracedHpa::counted, TracedHpa::note_counted));
            }
        }
    }

    /// Ends all looking.
    pub(super) fn stop(&mut self) {
        self.loops.abort_all();
    }

    /// What was seen, by HPA.
    pub(super) fn traces(&self) -> BTreeMap<String, Trace> {
        let trace = |subject: &Arc<TracedHpa>| (subject.name().to_owned(), subject.trace().clone());
        self.subjects.iter().map(trace).collect()
    }
}

/// Looks at one subject; times count from `origin`.
#[derive(Clone)]
struct Look {
    subject: Arc<TracedHpa>,
    origin: Instant,
}

impl Look {
    /// Looks again and again, until `note` has seen all that there is to see.
    async fn watch<T, F: Future<Output = ReadResult<T>> + Send>(
        self,
        what: &'static str,
        read: impl Fn(Arc<TracedHpa>) -> F,
        note: impl Fn(&TracedHpa, &mut Trace, TimeRange, T) -> bool,
    ) {
        let Self { subject, origin } = self;
        let now = || Instant::now().saturating_duration_since(origin).as_secs_f64();
        let mut ticks = time::interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut after = 0.0;
        loop {
            ticks.tick().await;
            let began = now();
            let found = read(Arc::clone(&subject)).await;
            let seen = TimeRange { after, by: now() };
            let mut trace = subject.trace();
            match found {
                Ok(found) => {
                    trace.problems.remove(what);
                    if note(&subject, &mut trace, seen, found) {
                        return;
                    }
                    after = began;
                }
                Err(ReadError(problem)) => drop(trace.problems.insert(what, problem)),
            }
        }
    }
}
