//! The state of the fake cluster: a Deployment and its HPA, and everything that a test can break.

use std::collections::BTreeMap;

use crate::fake_nodes::FakeNodes;

/// The progress of the pods that the HPA adds to the first two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PodStage {
    Created,
    Scheduled,
    Started,
    Ready,
    Served,
}

/// A fault of the watches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum WatchFault {
    #[default]
    None,
    /// The API server sends nothing more, but keeps the watches open.
    Hang,
    /// The version of the next watch is too old: status 410, once.
    Expired,
}

/// A second target of each pod.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SecondTarget {
    pub(crate) job: &'static str,
    pub(crate) port: u16,
    pub(crate) up: bool,
    /// The time since its last scrape, in seconds.
    pub(crate) age: f64,
    pub(crate) interval: &'static str,
}

/// The state of the fake cluster. A test may change every field while it runs.
#[expect(clippy::struct_excessive_bools, reason = "each is one possible fault")]
#[derive(Clone, Debug)]
pub(crate) struct ClusterState {
    /// The metric that the HPA asks for.
    pub(crate) hpa_metric: &'static str,
    /// The pod metrics that the adapter offers.
    pub(crate) offered: Vec<&'static str>,
    pub(crate) hpa_exists: bool,
    /// The type of the HPA's metric: `Pods`, `External`, `External Value` (a target for the whole value) or
    /// `Resource`.
    pub(crate) metric_type: &'static str,
    pub(crate) desired: usize,
    pub(crate) limited: bool,
    pub(crate) active: bool,
    /// Why the HPA is not active, if it is not.
    pub(crate) inactive_reason: &'static str,
    /// The number of pods. The last `unready` of them are not ready.
    pub(crate) pods: usize,
    pub(crate) unready: usize,
    /// The number of terminating pods, in addition to `pods`.
    pub(crate) terminating: usize,
    /// The number of evicted pods, in addition to `pods`.
    pub(crate) evicted: usize,
    /// The progress of the pods after the first two.
    pub(crate) pod_stage: PodStage,
    /// The number of requests that all pods have counted.
    pub(crate) counted: f64,
    /// How many of these requests Prometheus has scraped.
    pub(crate) scraped: f64,
    /// Whether Prometheus answers.
    pub(crate) prometheus: bool,
    /// The number of pods that are targets. The scrapes of the last `failing_targets` of them fail.
    pub(crate) targets: usize,
    pub(crate) failing_targets: usize,
    /// The time since the last scrape, in seconds.
    pub(crate) scrape_age: f64,
    /// A second target of each pod, which does not deliver the series.
    pub(crate) second_target: Option<SecondTarget>,
    /// The scrape interval that Prometheus states for its targets; `None` if it has no list of targets.
    pub(crate) scrape_interval: Option<&'static str>,
    /// The series in which the pods count requests.
    pub(crate) exported: &'static str,
    /// Whether the `APIService` of the custom metrics API exists. The next three fields describe it.
    pub(crate) registered: bool,
    pub(crate) ca_bundle: Option<&'static str>,
    pub(crate) insecure: bool,
    /// The reason and message of the condition `Available` if it is false.
    pub(crate) unavailable: Option<(&'static str, &'static str)>,
    /// The sum of the metric over all pods, in requests per second.
    pub(crate) metric_sum: f64,
    /// The request rate at the last call of `follow`.
    pub(crate) last_rate: f64,
    /// The number of pods with a value of the metric; `None` for all pods.
    pub(crate) sampled: Option<usize>,
    pub(crate) sample_age_seconds: i64,
    /// The value of the external metric `s0-queue`, the sum of its two series; `None` if the API does not serve it.
    pub(crate) external: Option<f64>,
    /// Whether every request to the API server fails.
    pub(crate) api_down: bool,
    /// Whether the API server does not reach the pods: it never answers a request to a pod.
    pub(crate) pods_unreachable: bool,
    /// The fault of the watches of pods and nodes.
    pub(crate) watch_fault: WatchFault,
    /// The number of lists of pods and of nodes that the API server has answered, by path.
    pub(crate) lists: BTreeMap<String, usize>,
    /// The number of watches that clients have started.
    pub(crate) watches: usize,
    /// Whether the client may not read nodes.
    pub(crate) nodes_forbidden: bool,
    /// Whether the client may not read the events in `kube-system`.
    pub(crate) events_forbidden: bool,
    /// `maxReplicas` of the HPA.
    pub(crate) max: usize,
    /// The nodes that come and go; `None` for two constant nodes.
    pub(crate) nodes: Option<FakeNodes>,
    /// The value of the metric `http_request_duration_seconds_average` of each pod.
    pub(crate) average_seconds: f64,
    /// Why the rollout of the Deployment is stuck, if it is.
    pub(crate) stuck: Option<&'static str>,
    /// The zones of the two constant nodes.
    pub(crate) zones: [&'static str; 2],
    /// How many ready pods the `ReplicaSet` lacks.
    pub(crate) replica_set_lacks: usize,
}

impl ClusterState {
    /// Returns a healthy cluster with two idle pods.
    pub(crate) fn healthy() -> Self {
        Self {
            hpa_metric: "http_requests_per_second",
            offered: vec![
                "http_requests_per_second",
                "http_request_duration_seconds_average",
            ],
            hpa_exists: true,
            metric_type: "Pods",
            desired: 2,
            limited: false,
            active: true,
            inactive_reason: "FailedGetPodsMetric",
            pods: 2,
            unready: 0,
            terminating: 0,
            evicted: 0,
            pod_stage: PodStage::Served,
            counted: 0.0,
            scraped: 0.0,
            prometheus: true,
            targets: 2,
            failing_targets: 0,
            scrape_age: 2.5,
            second_target: None,
            scrape_interval: Some("5s"),
            exported: "http_requests_total",
            registered: true,
            ca_bundle: Some("LS0tLS1CRUdJTg=="),
            insecure: false,
            unavailable: None,
            metric_sum: 0.0,
            last_rate: 0.0,
            sampled: None,
            sample_age_seconds: 3,
            external: Some(120.0),
            api_down: false,
            pods_unreachable: false,
            watch_fault: WatchFault::None,
            lists: BTreeMap::new(),
            watches: 0,
            nodes_forbidden: false,
            events_forbidden: false,
            max: 12,
            nodes: None,
            average_seconds: 0.001,
            stuck: None,
            zones: ["zone-a", "zone-b"],
            replica_set_lacks: 0,
        }
    }
}
