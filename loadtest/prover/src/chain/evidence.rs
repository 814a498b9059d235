//! The evidence about one HPA's metrics chain at one moment. This module reads the cluster and does not judge, so
//! the diagnosis needs no cluster.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use tokio::join;

use crate::cluster::{
    ApiRegistration, CUSTOM_METRICS, Cluster, EXTERNAL_METRICS, ExternalMetric, ExternalValue, Hpa,
    PodSample, PodState, PrometheusService, ReadResult, Series, Workload,
};

/// The age in seconds up to which a scrape or a value is recent, whatever the scrape interval.
pub(super) const RECENT_SECONDS: f64 = 30.0;

/// The chain to diagnose.
#[derive(Clone, Debug)]
pub struct ChainOptions {
    /// The namespace of the HPA and its pods.
    pub namespace: String,
    /// The name of the HPA.
    pub hpa: String,
    /// The Service of Prometheus.
    pub prometheus: PrometheusService,
    /// The Prometheus series that the pods must export.
    pub series: String,
}

/// The status of one Prometheus target. A pod has several targets if several jobs scrape it, or if it has several
/// ports.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TargetStatus {
    /// The job that scrapes the target.
    pub(crate) job: String,
    /// The address and the port.
    pub(crate) instance: String,
    /// Whether the last scrape succeeded.
    pub(crate) up: bool,
    /// The time since the last scrape, in seconds.
    pub(crate) age: f64,
    /// The age of the series from this target, in seconds; `None` if it does not deliver the series.
    pub(crate) series_age: Option<f64>,
}

/// The status of the namespace in Prometheus.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PrometheusStatus {
    /// The targets, by the name of the pod.
    pub(crate) targets: BTreeMap<String, Vec<TargetStatus>>,
    /// The pods that export the series.
    pub(crate) exporting_pods: BTreeSet<String>,
    /// The names of all exported metrics. Only read if a pod does not export the series.
    pub(crate) metric_names: BTreeSet<String>,
}

impl PrometheusStatus {
    /// Returns the targets of a pod.
    pub(crate) fn targets_of(&self, pod: &str) -> &[TargetStatus] {
        self.targets.get(pod).map(Vec::as_slice).unwrap_or_default()
    }

    /// Returns the targets of a pod that deliver the series, or all of its targets if none does.
    pub(crate) fn deliverers(&self, pod: &str) -> Vec<&TargetStatus> {
        let all = self.targets_of(pod);
        let deliverers: Vec<_> = all.iter().filter(|target| target.series_age.is_some()).collect();
        if deliverers.is_empty() {
            all.iter().collect()
        } else {
            deliverers
        }
    }
}

/// The evidence about all links.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    pub(crate) now: Timestamp,
    pub(crate) hpa: ReadResult<Option<Hpa>>,
    /// `None` without an HPA, because the HPA names the workload.
    pub(crate) workload: Option<ReadResult<Option<Workload>>>,
    pub(crate) pods: Option<ReadResult<Vec<PodState>>>,
    pub(crate) prometheus: ReadResult<PrometheusStatus>,
    pub(crate) registration: ReadResult<Option<ApiRegistration>>,
    /// The names of the pod metrics that the adapter offers.
    pub(crate) offered_metrics: ReadResult<Vec<String>>,
    pub(crate) samples: Option<ReadResult<Vec<PodSample>>>,
    /// `None` if the HPA scales on a metric of its pods, or on no external metric.
    pub(crate) external: Option<ExternalEvidence>,
    /// The scrape intervals in seconds, by the pod and the job. Only read if a scrape or a value is not recent.
    pub(crate) scrape_intervals: BTreeMap<(String, String), f64>,
}

/// The evidence about an external metric.
#[derive(Clone, Debug)]
pub(crate) struct ExternalEvidence {
    pub(crate) metric: ExternalMetric,
    pub(crate) registration: ReadResult<Option<ApiRegistration>>,
    /// Whether the API answers.
    pub(crate) api: ReadResult<()>,
    pub(crate) values: ReadResult<Vec<ExternalValue>>,
}

/// Returns the external metric of an HPA that has no metric of its pods.
fn external_metric(hpa: &Hpa) -> Option<&ExternalMetric> {
    hpa.external_metric.as_ref().filter(|_| hpa.metric.is_none())
}

async fn read_external(
    cluster: &Cluster,
    options: &ChainOptions,
    metric: &ExternalMetric,
) -> ExternalEvidence {
    let (registration, api, values) = join!(
        cluster.registration(EXTERNAL_METRICS),
        cluster.call_api(EXTERNAL_METRICS),
        cluster.external_values(&options.namespace, metric),
    );
    ExternalEvidence {
        metric: metric.clone(),
        registration,
        api,
        values,
    }
}

/// Reads all evidence from the cluster.
pub(crate) async fn gather(cluster: &Cluster, options: &ChainOptions) -> Evidence {
    let (hpa_evidence, prometheus, registration, offered_metrics) = join!(
        read_hpa(cluster, options),
        read_prometheus(cluster, options),
        cluster.registration(CUSTOM_METRICS),
        cluster.pod_metric_names(),
    );
    let (hpa, workload, pods, samples) = hpa_evidence;
    let external = match hpa
        .as_ref()
        .ok()
        .and_then(Option::as_ref)
        .and_then(external_metric)
    {
        Some(metric) => Some(read_external(cluster, options, metric).await),
        None => None,
    };
    let mut evidence = Evidence {
        now: Timestamp::now(),
        hpa,
        workload,
        pods,
        prometheus,
        registration,
        offered_metrics,
        samples,
        external,
        scrape_intervals: BTreeMap::new(),
    };
    if !evidence.is_recent() {
        let intervals = cluster.scrape_intervals(&options.prometheus, &options.namespace);
        evidence.scrape_intervals = intervals.await.unwrap_or_default();
    }
    evidence
}

impl Evidence {
    /// Whether every scrape and every value is recent, whatever the scrape interval.
    fn is_recent(&self) -> bool {
        let targets = self
            .prometheus
            .iter()
            .flat_map(|status| status.targets.values().flatten());
        let samples = self.samples.iter().flatten().flatten();
        let times = samples.filter_map(|sample| sample.at);
        targets
            .map(|target| target.series_age.unwrap_or(target.age))
            .chain(times.map(|at| self.now.duration_since(at).as_secs_f64()))
            .all(|age| age <= RECENT_SECONDS)
    }

    /// Returns the scrape interval in seconds of the job that delivers the series of a pod, if Prometheus reports it. Of
    /// several jobs, the longest interval counts.
    pub(crate) fn scrape_interval(&self, pod: &str) -> Option<f64> {
        let deliverers = self.prometheus.as_ref().ok()?.deliverers(pod).into_iter();
        deliverers
            .filter_map(|target| self.interval_of(pod, target))
            .reduce(f64::max)
    }

    /// Returns the scrape interval in seconds of a target, if Prometheus reports it.
    pub(crate) fn interval_of(&self, pod: &str, target: &TargetStatus) -> Option<f64> {
        let key = (pod.to_owned(), target.job.clone());
        self.scrape_intervals.get(&key).copied()
    }
}

type HpaEvidence = (
    ReadResult<Option<Hpa>>,
    Option<ReadResult<Option<Workload>>>,
    Option<ReadResult<Vec<PodState>>>,
    Option<ReadResult<Vec<PodSample>>>,
);

async fn read_hpa(cluster: &Cluster, options: &ChainOptions) -> HpaEvidence {
    let namespace = &options.namespace;
    let hpa = cluster.hpa(namespace, &options.hpa).await;
    let Ok(Some(found)) = &hpa else {
        return (hpa, None, None, None);
    };
    let workload = cluster.workload(namespace, &found.target_name).await;
    let Ok(Some(scaled)) = &workload else {
        return (hpa, Some(workload), None, None);
    };
    let pods = cluster.pods(namespace, &scaled.selector).await;
    let samples = match &found.metric {
        Some(metric) => Some(cluster.pod_samples(namespace, metric, &scaled.selector).await),
        None => None,
    };
    (hpa, Some(workload), Some(pods), samples)
}

async fn read_prometheus(cluster: &Cluster, options: &ChainOptions) -> ReadResult<PrometheusStatus> {
    let ChainOptions {
        namespace, series, ..
    } = options;
    let query = |text: String| async move { cluster.prometheus(&options.prometheus, &text).await };
    let up = query(format!("up{{namespace=\"{namespace}\"}}")).await?;
    let ages = query(format!("time() - timestamp(up{{namespace=\"{namespace}\"}})")).await?;
    // Only a target that delivers the series has an age of it. A failed scrape ends the series of its target.
    let series_ages = query(format!(
        "time() - max by (pod, job, instance) (timestamp({series}{{namespace=\"{namespace}\"}}))"
    ))
    .await?;
    let mut status = PrometheusStatus {
        exporting_pods: series_ages.iter().map(|series| series.label("pod")).collect(),
        ..PrometheusStatus::default()
    };
    let by_target = |ages: &[Series]| -> BTreeMap<[String; 3], f64> {
        let ages = ages.iter();
        ages.map(|series| (target_of(series), series.number())).collect()
    };
    let (ages, series_ages) = (by_target(&ages), by_target(&series_ages));
    for target in &up {
        let key = target_of(target);
        let (age, series_age) = (ages.get(&key), series_ages.get(&key).copied());
        let age = age.copied().unwrap_or(f64::NAN);
        let [pod, job, instance] = key;
        let targets = status.targets.entry(pod).or_default();
        targets.push(TargetStatus {
            job,
            instance,
            up: target.number() > 0.5,
            age,
            series_age,
        });
    }
    if up
        .iter()
        .any(|target| !status.exporting_pods.contains(&target.label("pod")))
    {
        let names = query(format!("count by (__name__) ({{namespace=\"{namespace}\"}})")).await?;
        status.metric_names = names.iter().map(|series| series.label("__name__")).collect();
    }
    Ok(status)
}

/// Returns the pod, the job and the address of a target.
fn target_of(series: &Series) -> [String; 3] {
    ["pod", "job", "instance"].map(|label| series.label(label))
}
