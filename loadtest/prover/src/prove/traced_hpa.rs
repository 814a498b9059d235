//! The chain of one traced HPA: reads each link, and records what the reads show about the step.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    join,
    task::JoinSet,
    time::{Instant, timeout_at},
};
use wiring::exposition;

use super::{
    plan::Expected,
    setup::Setup,
    trace::{Decision, MAX_WATCH_DELAY, MetricSample, PodTrace, TimeRange, Trace},
    watched_pods::WatchedPods,
};
use crate::cluster::{Cluster, PodState, PrometheusService, ReadError, ReadResult, Series};

/// The sources of the reads. Reports show these names.
pub(super) const PODS: &str = "pods";
pub(super) const HPA: &str = "HPA";
pub(super) const METRIC: &str = "API of the metric";
pub(super) const PROMETHEUS: &str = "Prometheus";
pub(super) const OWN_METRICS: &str = "pods' own metrics";

/// The number of attempts of a read before the step. On a busy machine, one read may time out.
const ATTEMPTS: u32 = 3;

/// The sources of one HPA's chain, and the trace that is recorded from them.
pub(super) struct TracedHpa {
    cluster: Cluster,
    namespace: String,
    prometheus: PrometheusService,
    series: String,
    expected: Expected,
    pods: WatchedPods,
    pub(super) baseline: Baseline,
    trace: Mutex<Trace>,
}

/// The state before the step. A link without a baseline is not traced: its times would be wrong.
#[derive(Clone, Debug, Default)]
pub(super) struct Baseline {
    /// The names of the existing pods.
    pub(super) pods: BTreeSet<String>,
    /// The port of the pods that Prometheus scrapes; `None` if it scrapes no pod.
    port: Option<String>,
    /// The number of requests that each of these pods has counted.
    pub(super) counted: Option<BTreeMap<String, f64>>,
    /// The sum of these counts as of the last scrapes, or the sum of `counted` if that is higher.
    pub(super) scraped: Option<f64>,
}

/// The name of a pod, and the number of requests that it has counted.
type Count = (String, ReadResult<f64>);

impl TracedHpa {
    pub(super) fn new(cluster: &Cluster, setup: &Setup, expected: Expected, pods: WatchedPods) -> Self {
        Self {
            cluster: cluster.clone(),
            namespace: setup.namespace.clone(),
            prometheus: setup.prometheus.clone(),
            series: setup.series.clone(),
            expected,
            pods,
            baseline: Baseline::default(),
            trace: Mutex::default(),
        }
    }

    /// Reads the state before the step, until `deadline`.
    pub(super) async fn before_step(mut self, deadline: Instant) -> Self {
        let found = self
            .read_with_retries(deadline, PODS, || self.pods.watch.objects())
            .await;
        let names = found.iter().flatten().map(|pod| pod.name.clone());
        self.baseline.pods = names.collect();
        if self.baseline.pods.is_empty() {
            return self;
        }
        let port = self.read_with_retries(deadline, PROMETHEUS, || self.port()).await;
        self.baseline.port = port.flatten();
        let (counted, scraped, metric) = join!(
            self.read_with_retries(deadline, OWN_METRICS, || self.counted_before()),
            self.read_with_retries(deadline, PROMETHEUS, || self.scraped_sum()),
            self.read_with_retries(deadline, METRIC, || self.metric_sum()),
        );
        // Requests that the pods have already counted are not part of the step, even if the next scrape reads them.
        let counted_sum = counted.as_ref().map_or(0.0, |counted| counted.values().sum());
        self.baseline.scraped = scraped.map(|scraped| scraped.max(counted_sum));
        self.baseline.counted = counted;
        let sample = metric.map(|sum| MetricSample {
            time: TimeRange::exactly(0.0),
            sum,
        });
        self.trace().metric.extend(sample);
        self
    }

    /// Reads a value with retries until `deadline`. If no attempt succeeds, returns `None` and records the error in the
    /// trace.
    async fn read_with_retries<T, F: Future<Output = ReadResult<T>>>(
        &self,
        deadline: Instant,
        source: &'static str,
        read: impl Fn() -> F,
    ) -> Option<T> {
        let mut problem = "not read before the load began".to_owned();
        for _ in 0..ATTEMPTS {
            match timeout_at(deadline, read()).await {
                Ok(Ok(found)) => return Some(found),
                Ok(Err(ReadError(error))) => problem = error,
                Err(_) => break,
            }
        }
        self.trace().problems.insert(source, problem);
        None
    }

    pub(super) fn name(&self) -> &str {
        &self.expected.hpa
    }

    pub(super) fn trace(&self) -> MutexGuard<'_, Trace> {
        self.trace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the port of the pods that Prometheus scrapes.
    async fn port(&self) -> ReadResult<Option<String>> {
        let targets = self
            .query(&format!("up{{{}}}", self.baseline_pod_labels()))
            .await?;
        let instance = targets.first().map(|target| target.label("instance"));
        Ok(instance.and_then(|instance| Some(instance.rsplit_once(':')?.1.to_owned())))
    }

    /// Returns the label matchers of a query for the pods from before the step.
    fn baseline_pod_labels(&self) -> String {
        format!(
            "namespace=\"{}\",pod=~\"{}\"",
            self.namespace,
            self.baseline
                .pods
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join("|")
        )
    }

    async fn query(&self, query: &str) -> ReadResult<Vec<Series>> {
        self.cluster.prometheus(&self.prometheus, query).await
    }

    async fn scraped_sum(&self) -> ReadResult<f64> {
        let query = format!("sum({}{{{}}})", self.series, self.baseline_pod_labels());
        Ok(self.query(&query).await?.first().map_or(0.0, Series::number))
    }

    async fn metric_sum(&self) -> ReadResult<f64> {
        let metric = &self.expected.metric;
        let total = metric.read(&self.cluster, &self.namespace, &self.pods).await?;
        Ok(total.sum.unwrap_or(0.0))
    }

    async fn counted_before(&self) -> ReadResult<BTreeMap<String, f64>> {
        let counts = self.counts(self.baseline.pods.iter().cloned().collect()).await?;
        counts.into_iter().map(|(pod, count)| Ok((pod, count?))).collect()
    }

    /// Reads the request counts of the pods concurrently, so that a hanging pod does not delay the others.
    async fn counts(&self, pods: Vec<String>) -> ReadResult<Vec<Count>> {
        let Some(port) = &self.baseline.port else {
            return Err(ReadError("Prometheus knows no port of the pods".to_owned()));
        };
        let mut reads = JoinSet::new();
        for pod in pods {
            let (cluster, namespace) = (self.cluster.clone(), self.namespace.clone());
            let (port, series) = (port.clone(), self.series.clone());
            reads.spawn(async move {
                let text = cluster.pod_metrics(&namespace, &pod, &port).await;
                let count = text.and_then(|text| exposition::sum(&text, &series).map_err(ReadError));
                (pod, count)
            });
        }
        Ok(reads.join_all().await)
    }

    /// Returns whether as many new pods as the step needs have reached a stage.
    fn all_reached(&self, trace: &Trace, reached: impl Fn(&PodTrace) -> bool) -> bool {
        let needed = usize::try_from(self.expected.replicas - self.expected.min).unwrap_or(0);
        trace.pods.values().filter(|pod| reached(pod)).count() >= needed
    }

    pub(super) async fn pods(self: Arc<Self>) -> ReadResult<Vec<Arc<PodState>>> {
        self.pods.watch.objects().await
    }

    pub(super) fn record_pods(&self, trace: &mut Trace, time: TimeRange, pods: Vec<Arc<PodState>>) -> bool {
        let time = TimeRange {
            earliest: (time.earliest - MAX_WATCH_DELAY).max(0.0),
            ..time
        };
        for pod in pods
            .into_iter()
            .filter(|pod| !self.baseline.pods.contains(&pod.name))
        {
            let new_pod = trace.pods.entry(pod.name.clone()).or_default();
            for (stage, reached) in [
                (&mut new_pod.created, true),
                (&mut new_pod.scheduled, pod.node.is_some()),
                (&mut new_pod.started, pod.started),
                (&mut new_pod.ready, pod.ready),
            ] {
                if reached {
                    stage.get_or_insert(time);
                }
            }
        }
        self.all_reached(trace, |pod| pod.ready.is_some())
    }

    pub(super) async fn desired(self: Arc<Self>) -> ReadResult<i32> {
        let hpa = self.cluster.hpa(&self.namespace, &self.expected.hpa).await?;
        hpa.map(|hpa| hpa.desired)
            .ok_or_else(|| ReadError("the HPA no longer exists".to_owned()))
    }

    pub(super) fn record_desired(&self, trace: &mut Trace, time: TimeRange, replicas: i32) -> bool {
        let last = trace.decisions.last();
        if replicas > last.map_or(self.expected.min, |last| last.replicas) {
            trace.decisions.push(Decision { replicas, time });
        }
        replicas >= self.expected.replicas
    }

    pub(super) async fn metric(self: Arc<Self>) -> ReadResult<f64> {
        self.metric_sum().await
    }

    pub(super) fn record_metric(&self, trace: &mut Trace, time: TimeRange, sum: f64) -> bool {
        let Expected {
            metric,
            min,
            scale_up_tolerance,
            ..
        } = &self.expected;
        trace.metric.push(MetricSample { time, sum });
        if sum > f64::from(*min) * metric.target_per_pod() * (1.0 + scale_up_tolerance) {
            trace.enough.get_or_insert(time);
        }
        trace.enough.is_some()
    }

    pub(super) async fn scraped(self: Arc<Self>) -> ReadResult<f64> {
        self.scraped_sum().await
    }

    pub(super) fn record_scraped(&self, trace: &mut Trace, time: TimeRange, sum: f64) -> bool {
        if self.baseline.scraped.is_some_and(|before| sum > before) {
            trace.scraped.get_or_insert(time);
        }
        trace.scraped.is_some()
    }

    /// Reads the counts of each new ready pod without a request. Until one of the pods from before the step has counted
    /// a request of the step, reads their counts as well.
    pub(super) async fn counted(self: Arc<Self>) -> ReadResult<Vec<Count>> {
        let pods = {
            let trace = self.trace();
            let is_waiting = |pod: &PodTrace| pod.ready.is_some() && pod.served.is_none();
            let waiting = trace.pods.iter().filter(|(_, pod)| is_waiting(pod));
            let old = self.baseline.pods.iter().filter(|_| trace.counted.is_none());
            old.chain(waiting.map(|(name, _)| name)).cloned().collect()
        };
        let counts = self.counts(pods).await?;
        let problem = |(_, count): &Count| count.clone().err();
        // A read that shows no new request only counts if it succeeded for all pods.
        match counts.iter().find_map(problem) {
            Some(problem)
                if !counts
                    .iter()
                    .any(|(pod, count)| self.has_new_requests(pod, count)) =>
            {
                Err(problem)
            }
            _ => Ok(counts),
        }
    }

    /// Returns whether a pod has counted a request since the step began.
    fn has_new_requests(&self, pod: &str, count: &ReadResult<f64>) -> bool {
        let before = self.baseline.counted.as_ref().and_then(|before| before.get(pod));
        count.as_ref().is_ok_and(|count| count > before.unwrap_or(&0.0))
    }

    pub(super) fn record_counted(&self, trace: &mut Trace, time: TimeRange, counts: Vec<Count>) -> bool {
        for (name, count) in counts {
            let has_new_requests = self.has_new_requests(&name, &count);
            if self.baseline.pods.contains(&name) {
                if has_new_requests {
                    trace.counted.get_or_insert(time);
                }
                continue;
            }
            let pod = trace.pods.entry(name).or_default();
            if has_new_requests {
                // The first read follows the ready state, but the pod may serve as soon as it is ready.
                let ready_since = pod
                    .ready
                    .filter(|_| !pod.metrics_read)
                    .map(|ready| ready.earliest);
                pod.served.get_or_insert(TimeRange {
                    earliest: ready_since.unwrap_or(time.earliest),
                    ..time
                });
            }
            pod.metrics_read = count.is_ok();
        }
        trace.counted.is_some() && self.all_reached(trace, |pod| pod.served.is_some())
    }
}
