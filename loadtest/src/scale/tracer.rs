//! Follows a step through the chain, from the pods' own metrics to the last new pod, several times a second. Each link
//! has a loop of its own, so that a read that hangs hides nothing else; and all is timed by this machine's clock, so that
//! the cluster's need not agree with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    join,
    task::JoinSet,
    time::{self, MissedTickBehavior},
};

use super::{
    drive::Setup,
    plan::Expected,
    trace::{Decision, PodTrace, Seen, Trace},
};
use crate::cluster::{Cluster, PodState, PrometheusService, Read, ReadError, Series, total};

/// Between two looks at the same link. Half of it is how far off a time is on average.
const PERIOD: Duration = Duration::from_millis(250);

/// What is looked at.
const PODS: &str = "pods";
const HPA: &str = "HPA";
const METRIC: &str = "custom metrics API";
const PROMETHEUS: &str = "Prometheus";
const OWN_METRICS: &str = "pods' own metrics";

/// What is asked, and the names that it takes.
struct Subject {
    cluster: Cluster,
    namespace: String,
    prometheus: PrometheusService,
    series: String,
    expected: Expected,
    selector: String,
    before: Before,
    trace: Mutex<Trace>,
}

/// How it was before the step. A link of which that cannot be read is not followed: its times would be wrong.
#[derive(Clone, Debug, Default)]
struct Before {
    pods: BTreeSet<String>,
    /// The port that Prometheus reads, where it reads one.
    port: Option<String>,
    /// Requests of all pods together, by their own account and by that of Prometheus.
    counted: Option<f64>,
    scraped: Option<f64>,
    /// What the custom metrics API shows of pods at rest: 0, but for a person who looks at the page.
    metric: Option<f64>,
}

/// The loops of all HPAs.
pub(super) struct Tracer {
    subjects: Vec<Arc<Subject>>,
    loops: JoinSet<()>,
}

impl Tracer {
    /// Reads how things are before the step.
    pub(super) async fn prepare(cluster: &Cluster, setup: &Setup) -> Self {
        let mut subjects = Vec::new();
        for expected in &setup.expected {
            let mut subject = Subject {
                cluster: cluster.clone(),
                namespace: setup.namespace.clone(),
                prometheus: setup.prometheus.clone(),
                series: setup.series.clone(),
                expected: expected.clone(),
                selector: String::new(),
                before: Before::default(),
                trace: Mutex::default(),
            };
            subject.look_before().await;
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
            loops.spawn(look.clone().watch(PODS, Subject::pods, Subject::note_pods));
            loops.spawn(look.clone().watch(HPA, Subject::desired, Subject::note_desired));
            if before.metric.is_some() {
                loops.spawn(look.clone().watch(METRIC, Subject::metric, Subject::note_metric));
            }
            if before.scraped.is_some() {
                let look = look.clone();
                loops.spawn(look.watch(PROMETHEUS, Subject::scraped, Subject::note_scraped));
            }
            if before.counted.is_some() {
                loops.spawn(look.watch(OWN_METRICS, Subject::counted, Subject::note_counted));
            }
        }
    }

    /// Ends all looking.
    pub(super) fn stop(&mut self) {
        self.loops.abort_all();
    }

    /// What was seen, by HPA.
    pub(super) fn traces(&self) -> BTreeMap<String, Trace> {
        let trace = |subject: &Arc<Subject>| (subject.expected.hpa.clone(), subject.trace().clone());
        self.subjects.iter().map(trace).collect()
    }
}

/// Looks at one subject; times count from `origin`.
#[derive(Clone)]
struct Look {
    subject: Arc<Subject>,
    origin: Instant,
}

impl Look {
    /// Looks again and again, until `note` has seen all that there is to see.
    async fn watch<T, F: Future<Output = Read<T>> + Send>(
        self,
        what: &'static str,
        read: impl Fn(Arc<Subject>) -> F,
        note: impl Fn(&Subject, &mut Trace, Seen, T) -> bool,
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
            let seen = Seen { after, by: now() };
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

impl Subject {
    fn trace(&self) -> MutexGuard<'_, Trace> {
        self.trace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look_before(&mut self) {
        let pods = self.pods_now().await;
        self.before.pods = self.known(PODS, pods).unwrap_or_default();
        if self.before.pods.is_empty() {
            return;
        }
        let port = self.port().await;
        self.before.port = self.known(PROMETHEUS, port).flatten();
        let (scraped, metric, counted) = join!(self.scraped_sum(), self.metric_sum(), self.counted_sum());
        self.before.scraped = self.known(PROMETHEUS, scraped);
        self.before.metric = self.known(METRIC, metric);
        self.before.counted = self.known(OWN_METRICS, counted);
    }

    /// What was read, or else why not, for the trace.
    fn known<T>(&self, what: &'static str, found: Read<T>) -> Option<T> {
        found
            .map_err(|ReadError(problem)| self.trace().problems.insert(what, problem))
            .ok()
    }

    /// The names of the Deployment's pods, whose selector is noted.
    async fn pods_now(&mut self) -> Read<BTreeSet<String>> {
        let Self {
            cluster, namespace, ..
        } = &*self;
        let workload = cluster.workload(namespace, &self.expected.deployment).await?;
        let selector = workload.map(|workload| workload.selector).unwrap_or_default();
        let pods = cluster.pods(namespace, &selector).await?;
        self.selector = selector;
        Ok(pods.into_iter().map(|pod| pod.name).collect())
    }

    /// The port that Prometheus reads the pods at.
    async fn port(&self) -> Read<Option<String>> {
        let targets = self.ask(&format!("up{{{}}}", self.pods_before())).await?;
        let instance = targets.first().map(|target| target.label("instance"));
        Ok(instance.and_then(|instance| Some(instance.rsplit_once(':')?.1.to_owned())))
    }

    /// As labels of a query.
    fn pods_before(&self) -> String {
        let pods: Vec<_> = self.before.pods.iter().map(String::as_str).collect();
        format!("namespace=\"{}\",pod=~\"{}\"", self.namespace, pods.join("|"))
    }

    async fn ask(&self, query: &str) -> Read<Vec<Series>> {
        self.cluster.prometheus(&self.prometheus, query).await
    }

    async fn scraped_sum(&self) -> Read<f64> {
        let query = format!("sum({}{{{}}})", self.series, self.pods_before());
        Ok(self.ask(&query).await?.first().map_or(0.0, Series::number))
    }

    async fn counted_sum(&self) -> Read<f64> {
        let mut sum = 0.0;
        for pod in &self.before.pods {
            sum += self.counted_by(pod).await?;
        }
        Ok(sum)
    }

    async fn counted_by(&self, pod: &str) -> Read<f64> {
        let Some(port) = &self.before.port else {
            return Err(ReadError("Prometheus knows no port of the pods".to_owned()));
        };
        let text = self.cluster.pod_metrics(&self.namespace, pod, port).await?;
        Ok(total(&text, &self.series))
    }

    /// How many pods the step has to bring.
    fn new_pods(&self) -> usize {
        usize::try_from(self.expected.replicas - self.expected.min).unwrap_or(0)
    }

    fn all(&self, trace: &Trace, of: impl Fn(&PodTrace) -> bool) -> bool {
        trace.pods.values().filter(|pod| of(pod)).count() >= self.new_pods()
    }

    async fn pods(self: Arc<Self>) -> Read<Vec<PodState>> {
        self.cluster.pods(&self.namespace, &self.selector).await
    }

    fn note_pods(&self, trace: &mut Trace, seen: Seen, pods: Vec<PodState>) -> bool {
        for pod in pods
            .into_iter()
            .filter(|pod| !self.before.pods.contains(&pod.name))
        {
            let known = trace.pods.entry(pod.name).or_default();
            for (stage, reached) in [
                (&mut known.created, true),
                (&mut known.scheduled, pod.node.is_some()),
                (&mut known.started, pod.started),
                (&mut known.ready, pod.ready),
            ] {
                if reached {
                    stage.get_or_insert(seen);
                }
            }
        }
        self.all(trace, |pod| pod.ready.is_some())
    }

    async fn desired(self: Arc<Self>) -> Read<i32> {
        let hpa = self.cluster.hpa(&self.namespace, &self.expected.hpa).await?;
        hpa.map(|hpa| hpa.desired)
            .ok_or_else(|| ReadError("the HPA is gone".to_owned()))
    }

    fn note_desired(&self, trace: &mut Trace, seen: Seen, replicas: i32) -> bool {
        let most = trace
            .decisions
            .last()
            .map_or(self.expected.min, |last| last.replicas);
        if replicas > most {
            trace.decisions.push(Decision { replicas, seen });
        }
        replicas >= self.expected.replicas
    }

    async fn metric(self: Arc<Self>) -> Read<f64> {
        self.metric_sum().await
    }

    async fn metric_sum(&self) -> Read<f64> {
        let metric = &self.expected.metric;
        let samples = self
            .cluster
            .pod_samples(&self.namespace, metric, &self.selector)
            .await?;
        Ok(samples.iter().map(|sample| sample.value).sum())
    }

    fn note_metric(&self, trace: &mut Trace, seen: Seen, sum: f64) -> bool {
        let Expected {
            metric,
            min,
            scale_up_tolerance,
            ..
        } = &self.expected;
        // However little: a scrape right after the step has few requests to show.
        if self.before.metric.is_some_and(|before| sum > before) {
            trace.visible.get_or_insert(seen);
        }
        if sum > f64::from(*min) * metric.target_per_pod * (1.0 + scale_up_tolerance) {
            trace.enough.get_or_insert(seen);
        }
        trace.enough.is_some()
    }

    async fn scraped(self: Arc<Self>) -> Read<f64> {
        self.scraped_sum().await
    }

    fn note_scraped(&self, trace: &mut Trace, seen: Seen, sum: f64) -> bool {
        if self.before.scraped.is_some_and(|before| sum > before) {
            trace.scraped.get_or_insert(seen);
        }
        trace.scraped.is_some()
    }

    /// Requests that pods have counted: those from before together, as long as they have none of the step; and each new
    /// one that is ready and has none yet.
    async fn counted(self: Arc<Self>) -> Read<(f64, Vec<(String, bool)>)> {
        let (of_all, waiting) = {
            let trace = self.trace();
            let waits = |pod: &PodTrace| pod.ready.is_some() && pod.served.is_none();
            let waiting = trace.pods.iter().filter(|(_, pod)| waits(pod));
            let names: Vec<_> = waiting.map(|(name, _)| name.clone()).collect();
            (trace.counted.is_none(), names)
        };
        let sum = if of_all { self.counted_sum().await? } else { 0.0 };
        let mut asked = Vec::new();
        for pod in waiting {
            let has_served = self.counted_by(&pod).await? > 0.0;
            asked.push((pod, has_served));
        }
        Ok((sum, asked))
    }

    fn note_counted(&self, trace: &mut Trace, seen: Seen, (sum, asked): (f64, Vec<(String, bool)>)) -> bool {
        if self.before.counted.is_some_and(|before| sum > before) {
            trace.counted.get_or_insert(seen);
        }
        for (pod, has_served) in asked {
            let pod = trace.pods.entry(pod).or_default();
            if has_served {
                // It is asked from when it is known to be ready, and may have served as soon as it was.
                let before = pod.ready.filter(|_| !pod.asked).map(|ready| ready.after);
                pod.served.get_or_insert(Seen {
                    after: before.unwrap_or(seen.after),
                    ..seen
                });
            }
            pod.asked = true;
        }
        trace.counted.is_some() && self.all(trace, |pod| pod.served.is_some())
    }
}
