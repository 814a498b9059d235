//! Reads the state of all HPAs and their Deployments, and the events about them.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, OnceLock},
};

use jiff::Timestamp;
use tokio::{join, task::JoinSet};

use super::{
    plan::Expected,
    timeline::{EventMark, HpaSample},
};
use crate::cluster::{Cluster, NodeState, PodState, ReadError, Watch};

/// The state of the cluster, as far as it could be read.
#[derive(Debug, Default)]
pub(super) struct Observation {
    pub(super) hpas: BTreeMap<String, HpaSample>,
    /// The pods of each HPA.
    pub(super) pods: BTreeMap<String, Vec<Arc<PodState>>>,
    /// `None` if the nodes cannot be read, which needs cluster-wide permissions. This is not an error.
    pub(super) nodes: Option<Vec<Arc<NodeState>>>,
    pub(super) problem: Option<String>,
}

/// The watched pods of an HPA, and the label selector that matches them.
#[derive(Clone, Debug)]
pub(super) struct WatchedPods {
    pub(super) selector: String,
    pub(super) watch: Arc<Watch<PodState>>,
}

/// Reads the state of all HPAs. Watches the pods and nodes, because a cluster may have thousands of them.
pub(super) struct Observer {
    hpas: Vec<Arc<HpaObserver>>,
    nodes: Watch<NodeState>,
}

impl Observer {
    pub(super) fn new(cluster: &Cluster, namespace: &str, expected: &[Expected]) -> Self {
        let hpa = |expected: &Expected| {
            Arc::new(HpaObserver {
                cluster: cluster.clone(),
                namespace: namespace.to_owned(),
                expected: expected.clone(),
                pods: OnceLock::new(),
            })
        };
        Self {
            hpas: expected.iter().map(hpa).collect(),
            nodes: cluster.watch_nodes(),
        }
    }

    /// Returns the watched pods of each HPA that has been read.
    pub(super) fn watched_pods(&self) -> Vec<(Expected, WatchedPods)> {
        let watched = |hpa: &Arc<HpaObserver>| Some((hpa.expected.clone(), hpa.pods.get()?.clone()));
        self.hpas.iter().filter_map(watched).collect()
    }

    /// Reads the state of all HPAs concurrently.
    pub(super) async fn observe(&self) -> Observation {
        let mut reads = JoinSet::new();
        for hpa in &self.hpas {
            let hpa = Arc::clone(hpa);
            reads.spawn(async move { (hpa.expected.hpa.clone(), hpa.observe().await) });
        }
        let (nodes, reads) = join!(self.nodes.objects(), reads.join_all());
        let mut observation = Observation {
            nodes: nodes.ok(),
            ..Observation::default()
        };
        for (name, found) in reads {
            match found {
                Ok((sample, pods)) => {
                    observation.hpas.insert(name.clone(), sample);
                    observation.pods.insert(name, pods);
                }
                Err(error) => observation.problem = Some(format!("{name}: {error}")),
            }
        }
        observation
    }
}

/// Reads the state of one HPA and its Deployment.
struct HpaObserver {
    cluster: Cluster,
    namespace: String,
    expected: Expected,
    /// Empty before the first read of the Deployment. The selector of a Deployment cannot change.
    pods: OnceLock<WatchedPods>,
}

impl HpaObserver {
    async fn observe(&self) -> Result<(HpaSample, Vec<Arc<PodState>>), ReadError> {
        let Self {
            cluster,
            namespace,
            expected,
            pods,
        } = self;
        let gone = |what: &str| ReadError(format!("{what} no longer exists"));
        let (hpa, workload) = join!(
            cluster.hpa(namespace, &expected.hpa),
            cluster.workload(namespace, &expected.deployment)
        );
        let hpa = hpa?.ok_or_else(|| gone("the HPA"))?;
        let workload = workload?.ok_or_else(|| gone("the Deployment"))?;
        let WatchedPods { selector, watch } = pods.get_or_init(|| WatchedPods {
            watch: Arc::new(cluster.watch_pods(namespace, &workload.selector)),
            selector: workload.selector,
        });
        let (pods, samples) = join!(
            watch.objects(),
            cluster.pod_samples(namespace, &expected.metric, selector)
        );
        // If the metric cannot be read, the sample has no metric value, but keeps all other values.
        let samples = samples.unwrap_or_default();
        let pods = pods.map_err(|ReadError(error)| ReadError(format!("pods: {error}")))?;
        let limited = hpa.condition("ScalingLimited");
        let sample = HpaSample {
            desired: hpa.desired,
            wanted: workload.replicas,
            ready: workload.ready,
            pods: pods.len(),
            metric_sum: (!samples.is_empty()).then(|| samples.iter().map(|sample| sample.value).sum()),
            metric_pods: samples.len(),
            limited: limited.map(|condition| condition.holds),
            limited_reason: limited
                .map(|condition| condition.reason.clone())
                .unwrap_or_default(),
        };
        Ok((sample, pods))
    }
}

/// The namespaces of the events about nodes, and of the events of a cluster-autoscaler about itself.
const NODE_EVENTS: &str = "default";
const AUTOSCALER_EVENTS: &str = "kube-system";

/// The ConfigMap that the events of a cluster-autoscaler about itself refer to.
const AUTOSCALER_STATUS: &str = "cluster-autoscaler-status";

/// Reads the events about the watched objects, and returns each event once.
#[derive(Debug)]
pub(super) struct Events {
    since: Timestamp,
    seen: HashSet<(String, String)>,
}

impl Events {
    /// Creates a reader of all events since `since`. The times of the events count from `since`.
    pub(super) fn since(since: Timestamp) -> Self {
        Self {
            since,
            seen: HashSet::new(),
        }
    }

    /// Returns the new events since the last call. Events that cannot be read now are returned by a later call.
    pub(super) async fn fresh(
        &mut self,
        cluster: &Cluster,
        namespace: &str,
        expected: &[Expected],
    ) -> Vec<EventMark> {
        let (of_namespace, of_nodes, of_autoscaler) = join!(
            cluster.events(namespace),
            cluster.events(NODE_EVENTS),
            cluster.events(AUTOSCALER_EVENTS)
        );
        let mut marks: Vec<EventMark> = [of_namespace, of_nodes, of_autoscaler]
            .into_iter()
            .flat_map(Result::unwrap_or_default)
            .filter(|event| event.at >= self.since && is_about(&event.regarding, expected))
            .filter(|event| self.seen.insert(event.identity.clone()))
            .map(|event| EventMark {
                at: event.at.duration_since(self.since).as_secs_f64(),
                regarding: format!("{}/{}", event.regarding.0, event.regarding.1),
                reporter: event.reporter,
                reason: event.reason,
                note: event.note,
                warning: event.warning,
            })
            .collect();
        marks.sort_by(|one, other| one.at.total_cmp(&other.at));
        marks
    }
}

/// Returns whether an event is about one of the HPAs, its Deployment, `ReplicaSet`s or pods, about a node, or about the
/// cluster-autoscaler.
fn is_about((kind, name): &(String, String), expected: &[Expected]) -> bool {
    if kind == "Node" || (kind == "ConfigMap" && name == AUTOSCALER_STATUS) {
        return true;
    }
    expected.iter().any(|expected| match kind.as_str() {
        "HorizontalPodAutoscaler" => *name == expected.hpa,
        "Deployment" => *name == expected.deployment,
        "ReplicaSet" | "Pod" => name
            .strip_prefix(&expected.deployment)
            .is_some_and(|rest| rest.starts_with('-')),
        _ => false,
    })
}
