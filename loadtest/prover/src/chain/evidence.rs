//! Everything that is known of one HPA's chain of metrics at one moment. Gathering asks and does not judge, so that
//! the diagnosis needs no cluster.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use tokio::join;

use crate::cluster::{
    ApiRegistration, Cluster, Hpa, PodSample, PodState, PrometheusService, ReadError, Workload,
};

/// What to look at.
#[derive(Clone, Debug)]
pub struct ChainOptions {
    /// The namespace of the HPA and its pods.
    pub namespace: String,
    /// The HPA.
    pub hpa: String,
    /// Where Prometheus is.
    pub prometheus: PrometheusService,
    /// The series that the pods must export.
    pub series: String,
}

/// What a read gave: a value, or why there is none.
pub(crate) type ReadResult<T> = Result<T, ReadError>;

/// One pod as Prometheus sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TargetStatus {
    /// Whether the last scrape succeeded.
    pub(crate) up: bool,
    /// Seconds since the last scrape.
    pub(crate) age: f64,
}

/// What Prometheus knows of the namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PrometheusStatus {
    /// Pods that are targets.
    pub(crate) pods: BTreeMap<String, TargetStatus>,
    /// Pods that export the series.
    pub(crate) exporting: BTreeSet<String>,
    /// What the namespace's pods export, for when the series is missing.
    pub(crate) names: BTreeSet<String>,
}

/// All of it.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    pub(crate) now: Timestamp,
    pub(crate) hpa: ReadResult<Option<Hpa>>,
    /// `None` without an HPA that says which.
    pub(crate) workload: Option<ReadResult<Option<Workload>>>,
    pub(crate) pods: Option<ReadResult<Vec<PodState>>>,
    pub(crate) scraped: ReadResult<PrometheusStatus>,
    pub(crate) registration: ReadResult<Option<ApiRegistration>>,
    pub(crate) offered: ReadResult<Vec<String>>,
    pub(crate) samples: Option<ReadResult<Vec<PodSample>>>,
}

/// Asks the cluster.
pub(crate) async fn gather(cluster: &Cluster, options: &ChainOptions) -> Evidence {
    let (read_hpa, scraped, registration, offered) = join!(
        read_hpa(cluster, options),
        scraped(cluster, options),
        cluster.custom_metrics_registration(),
        cluster.pod_metric_names(),
    );
    let (hpa, workload, pods, samples) = read_hpa;
    Evidence {
        now: Timestamp::now(),
        hpa,
        workload,
        pods,
        scraped,
        registration,
        offered,
        samples,
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

async fn scraped(cluster: &Cluster, options: &ChainOptions) -> ReadResult<PrometheusStatus> {
    let ChainOptions {
        namespace, series, ..
    } = options;
    let ask = |query: String| async move { cluster.prometheus(&options.prometheus, &query).await };
    let up = ask(format!("up{{namespace=\"{namespace}\"}}")).await?;
    let ages = ask(format!("time() - timestamp(up{{namespace=\"{namespace}\"}})")).await?;
    let exporting = ask(format!("count by (pod) ({series}{{namespace=\"{namespace}\"}})")).await?;
    let mut scraped = PrometheusStatus {
        exporting: exporting.iter().map(|one| one.label("pod")).collect(),
        ..PrometheusStatus::default()
    };
    let ages: BTreeMap<String, f64> = ages.iter().map(|one| (one.label("pod"), one.number())).collect();
    for target in &up {
        let pod = target.label("pod");
        let age = ages.get(&pod).copied().unwrap_or(f64::NAN);
        scraped.pods.insert(
            pod,
            TargetStatus {
                up: target.number() > 0.5,
                age,
            },
        );
    }
    if up
        .iter()
        .any(|target| !scraped.exporting.contains(&target.label("pod")))
    {
        let names = ask(format!("count by (__name__) ({{namespace=\"{namespace}\"}})")).await?;
        scraped.names = names.iter().map(|one| one.label("__name__")).collect();
    }
    Ok(scraped)
}
