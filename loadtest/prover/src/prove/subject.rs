//! One HPA's chain, as the tracer looks at it: what is asked of each link, and what the answers show of the step.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{join, task::JoinSet};

use super::{
    plan::Expected,
    setup::Setup,
    trace::{Decision, MetricSample, PodTrace, TimeRange, Trace},
};
use crate::cluster::{Cluster, PodState, PrometheusService, ReadResult, ReadError, Series, sum_of_series};

/// What is looked at.
pub(super) const PODS: &str = "pods";
pub(super) const HPA: &str = "HPA";
pub(super) const METRIC: &str = "custom metrics API";
pub(super) const PROMETHEUS: &str = "Prometheus";
pub(super) const OWN_METRICS: &str = "pods' own metrics";

/// A machine that is busy may let one read time out; the third says that it cannot be done.
const ATTEMPTS: u32 = 3;

/// What is asked, the names that it takes, and what was seen.
pub(super) struct TracedHpa {
    cluster: Cluster,
    namespace: String,
    prometheus: PrometheusService,
    series: String,
    expected: Expected,
    selector: String,
    pub(super) before: Before,
    trace: Mutex<Trace>,
}

/// How it was before the step. A link of which that cannot be read is not followed: its times would be wrong.
#[derive(Clone, Debug, Default)]
pub(super) struct Before {
    /// The names of the pods that were there.
    pub(super) pods: Vec<String>,
    /// The port that Prometheus reads, where it reads one.
    port: Option<String>,
    /// The requests that each of them had counted.
    pub(super) counted: Option<BTreeMap<String, f64>>,
    /// What Prometheus had read of these, all together.
    pub(super) scraped: Option<f64>,
}

/// What one pod says that it has counted.
type Count = (String, ReadResult<f64>);

impl TracedHpa {
    /// Reads how things are.
    pub(super) async fn before_the_step(cluster: &Cluster, setup: &Setup, expected: &Expected) -> Self {
        let mut subject = Self {
            cluster: cluster.clone(),
            namespace: setup.namespace.clone(),
            prometheus: setup.prometheus.clone(),
            series: setup.series.clone(),
            expected: expected.clone(),
            selector: String::new(),
            before: Before::default(),
            trace: Mutex::default(),
        };
        let found = subject.known(PODS, || subject.workload()).await;
        (subject.selector, subject.before.pods) = found.unwrap_or_default();
        if subject.before.pods.is_empty() {
            return subject;
        }
        let port = subject.known(PROMETHEUS, || subject.port()).await;
        subject.before.port = port.flatten();
        let (counted, scraped, metric) = join!(
            subject.known(OWN_METRICS, || subject.counted_before()),
            subject.known(PROMETHEUS, || subject.scraped_sum()),
            subject.known(METRIC, || subject.metric_sum()),
        );
        // What the pods have counted by now is not of the step, even if Prometheus reads it only later.
        let by_now = counted.as_ref().map_or(0.0, |counted| counted.values().sum());
        subject.before.scraped = scraped.map(|scraped| scraped.max(by_now));
        subject.before.counted = counted;
        let looks = metric.map(|sum| MetricSample {
            seen: TimeRange::exactly(0.0),
            sum,
        });
        subject.trace().metric.extend(looks);
        subject
    }

    /// What was read, or else why not, for the trace.
    async fn known<T, F: Future<Output = ReadResult<T>>>(
        &self,
        what: &'static str,
        read: impl Fn() -> F,
    ) -> Option<T> {
        for _ in 1..ATTEMPTS {
            if let Ok(found) = read().await {
                return Some(found);
            }
        }
        read()
            .await
            .map_err(|ReadError(problem)| self.trace().problems.insert(what, problem))
            .ok()
    }

    pub(super) fn name(&self) -> &str {
        &self.expected.hpa
    }

    pub(super) fn trace(&self) -> MutexGuard<'_, Trace> {
        self.trace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The Deployment's selector, and the names of its pods.
    async fn workload(&self) -> ReadResult<(String, Vec<String>)> {
        let deployment = &self.expected.deployment;
        let workload = self.cluster.workload(&self.namespace, deployment).await?;
        let selector = workload.map(|workload| workload.selector).unwrap_or_default();
        let pods = self.cluster.pods(&self.namespace, &selector).await?;
        Ok((selector, pods.into_iter().map(|pod| pod.name).collect()))
    }

    /// The port that Prometheus reads the pods at.
    async fn port(&self) -> ReadResult<Option<String>> {
        let targets = self.ask(&format!("up{{{}}}", self.pods_before())).await?;
        let instance = targets.first().map(|target| target.label("instance"));
        Ok(instance.and_then(|instance| Some(instance.rsplit_once(':')?.1.to_owned())))
    }

    /// As labels of a query.
    fn pods_before(&self) -> String {
        format!(
            "namespace=\"{}\",pod=~\"{}\"",
            self.namespace,
            self.before.pods.join("|")
        )
    }

    async fn ask(&self, query: &str) -> ReadResult<Vec<Series>> {
        self.cluster.prometheus(&self.prometheus, query).await
    }

    async fn scraped_sum(&self) -> ReadResult<f64> {
        let query = format!("sum({}{{{}}})", self.series, self.pods_before());
        Ok(self.ask(&query).await?.first().map_or(0.0, Series::number))
    }

    async fn metric_sum(&self) -> ReadResult<f64> {
        let (metric, selector) = (&self.expected.metric, &self.selector);
        let samples = self
            .cluster
            .pod_samples(&self.namespace, metric, selector)
            .await?;
        Ok(samples.iter().map(|sample| sample.value).sum())
    }

    async fn counted_before(&self) -> ReadResult<BTreeMap<String, f64>> {
        let counts = self.counts(self.before.pods.clone()).await?;
        counts.into_iter().map(|(pod, count)| Ok((pod, count?))).collect()
    }

    /// What each of these pods has counted, all asked at the same time: one that does not answer holds up no other.
    async fn counts(&self, pods: Vec<String>) -> ReadResult<Vec<Count>> {
        let Some(port) = &self.before.port else {
            return Err(ReadError("Prometheus knows no port of the pods".to_owned()));
        };
        let mut reads = JoinSet::new();
        for pod in pods {
            let (cluster, namespace) = (self.cluster.clone(), self.namespace.clone());
            let (port, series) = (port.clone(), self.series.clone());
            reads.spawn(async move {
                let text = cluster.pod_metrics(&namespace, &pod, &port).await;
                (pod, text.map(|text| sum_of_series(&text, &series)))
            });
        }
        Ok(reads.join_all().await)
    }

    /// Whether so many of the new pods are so far as the step has to bring.
    fn all(&self, trace: &Trace, of: impl Fn(&PodTrace) -> bool) -> bool {
        let wanted = usize::try_from(self.expected.replicas - self.expected.min).unwrap_or(0);
        trace.pods.values().filter(|pod| of(pod)).count() >= wanted
    }

    pub(super) async fn pods(self: Arc<Self>) -> ReadResult<Vec<PodState>> {
        self.cluster.pods(&self.namespace, &self.selector).await
    }

    pub(super) fn note_pods(&self, trace: &mut Trace, seen: TimeRange, pods: Vec<PodState>) -> bool {
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

    pub(super) async fn desired(self: Arc<Self>) -> ReadResult<i32> {
        let hpa = self.cluster.hpa(&self.namespace, &self.expected.hpa).await?;
        hpa.map(|hpa| hpa.desired)
            .ok_or_else(|| ReadError("the HPA is gone".to_owned()))
    }

    pub(super) fn note_desired(&self, trace: &mut Trace, seen: TimeRange, replicas: i32) -> bool {
        let last = trace.decisions.last();
        if replicas > last.map_or(self.expected.min, |last| last.replicas) {
            trace.decisions.push(Decision { replicas, seen });
        }
        replicas >= self.expected.replicas
    }

    pub(super) async fn metric(self: Arc<Self>) -> ReadResult<f64> {
        self.metric_sum().await
    }

    pub(super) fn note_metric(&self, trace: &mut Trace, seen: TimeRange, sum: f64) -> bool {
        let Expected {
            metric,
            min,
            scale_up_tolerance,
            ..
        } = &self.expected;
        trace.metric.push(MetricSample { seen, sum });
        if sum > f64::from(*min) * metric.target_per_pod * (1.0 + scale_up_tolerance) {
            trace.enough.get_or_insert(seen);
        }
        trace.enough.is_some()
    }

    pub(super) async fn scraped(self: Arc<Self>) -> ReadResult<f64> {
        self.scraped_sum().await
    }

    pub(super) fn note_scraped(&self, trace: &mut Trace, seen: TimeRange, sum: f64) -> bool {
        if self.before.scraped.is_some_and(|before| sum > before) {
            trace.scraped.get_or_insert(seen);
        }
        trace.scraped.is_some()
    }

    /// What the pods from before have counted, as long as none of them has a request of the step; and each new one that is
    /// ready and has none yet.
    pub(super) async fn counted(self: Arc<Self>) -> ReadResult<Vec<Count>> {
        let pods = {
            let trace = self.trace();
            let waits = |pod: &PodTrace| pod.ready.is_some() && pod.served.is_none();
            let waiting = trace.pods.iter().filter(|(_, pod)| waits(pod));
            let old = self.before.pods.iter().filter(|_| trace.counted.is_none());
            old.chain(waiting.map(|(name, _)| name)).cloned().collect()
        };
        let counts = self.counts(pods).await?;
        let problem = |(_, count): &Count| count.clone().err();
        // A look that showed nothing is one only if it looked everywhere.
        match counts.iter().find_map(problem) {
            Some(problem) if !counts.iter().any(|(pod, count)| self.is_more(pod, count)) => Err(problem),
            _ => Ok(counts),
        }
    }

    /// Whether a pod has counted a request since the step began.
    fn is_more(&self, pod: &str, count: &ReadResult<f64>) -> bool {
        let before = self.before.counted.as_ref().and_then(|before| before.get(pod));
        count.as_ref().is_ok_and(|count| count > before.unwrap_or(&0.0))
    }

    pub(super) fn note_counted(&self, trace: &mut Trace, seen: TimeRange, counts: Vec<Count>) -> bool {
        for (name, count) in counts {
            let is_more = self.is_more(&name, &count);
            if self.before.pods.contains(&name) {
                if is_more {
                    trace.counted.get_or_insert(seen);
                }
                continue;
            }
            let pod = trace.pods.entry(name).or_default();
            if is_more {
                // It is asked from when it is known to be ready, and may have served as soon as it was.
                let before = pod.ready.filter(|_| !pod.asked).map(|ready| ready.after);
                pod.served.get_or_insert(TimeRange {
                    after: before.unwrap_or(seen.after),
                    ..seen
                });
            }
            pod.asked = count.is_ok();
        }
        trace.counted.is_some() && self.all(trace, |pod| pod.served.is_some())
    }
}
