//! Reads the state of all HPAs and their Deployments, and the events about them.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, OnceLock},
};

use jiff::Timestamp;
use tokio::{join, task::JoinSet};

use super::{
    plan::Expected,
    setup::Setup,
    timeline::{EventMark, HpaSample},
    watched_pods::WatchedPods,
};
use crate::cluster::{
    AUTOSCALER_NAMESPACE, AUTOSCALER_STATUS, Cluster, ClusterEvent, NodeState, PodState, ReadError,
    ReadResult, Watch,
};

/// The state of the cluster, as far as it could be read.
#[derive(Debug)]
pub(super) struct Observation {
    pub(super) hpas: BTreeMap<String, HpaSample>,
    /// The pods of each HPA.
    pub(super) pods: BTreeMap<String, Vec<Arc<PodState>>>,
    /// The nodes. To read them needs cluster-wide permissions. Without `--nodes`, an error is not a problem.
    pub(super) nodes: ReadResult<Vec<Arc<NodeState>>>,
    pub(super) problem: Option<String>,
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
            hpas: BTreeMap::new(),
            pods: BTreeMap::new(),
            nodes,
            problem: None,
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
        let watched = pods.get_or_init(|| WatchedPods {
            watch: Arc::new(cluster.watch_pods(namespace, &workload.selector)),
            selector: workload.selector,
        });
        let (pods, metric) = join!(
            watched.watch.objects(),
            expected.metric.read(cluster, namespace, watched)
        );
        // If the metric cannot be read, the sample has no metric value, but keeps all other values.
        let metric = metric.unwrap_or_default();
        let pods = pods.map_err(|ReadError(error)| ReadError(format!("pods: {error}")))?;
        let limited = hpa.condition("ScalingLimited");
        let sample = HpaSample {
            desired: hpa.desired,
            wanted: workload.replicas,
            ready: workload.ready,
            pods: pods.len(),
            metric_sum: metric.sum,
            metric_pods: metric.pods,
            limited: limited.map(|condition| condition.holds),
            limited_reason: limited
                .map(|condition| condition.reason.clone())
                .unwrap_or_default(),
        };
        Ok((sample, pods))
    }
}

/// The namespace of the events about nodes.
const NODE_EVENTS: &str = "default";

/// Returns the namespaces whose events are read: that of the HPAs, that of the events about nodes, and that of the events of
/// a cluster-autoscaler about itself.
#[must_use]
pub fn event_namespaces(of_hpas: &str) -> [String; 3] {
    [of_hpas, NODE_EVENTS, AUTOSCALER_NAMESPACE].map(str::to_owned)
}

/// Reads the events about the watched objects, and returns each event once.
pub(super) struct Events {
    cluster: Cluster,
    namespaces: [String; 3],
    expected: Vec<Expected>,
    /// The watches of the events in the namespaces; only with `--nodes`. A list of events has a bound, which the events
    /// about thousands of pods and nodes exceed.
    watches: Option<[Watch<ClusterEvent>; 3]>,
    /// The start of the load; `None` before it.
    since: Option<Timestamp>,
    seen: HashSet<(String, String)>,
}

impl Events {
    pub(super) fn new(cluster: &Cluster, setup: &Setup) -> Self {
        let namespaces = event_namespaces(&setup.namespace);
        let watch = |namespace: &String| cluster.watch_events(namespace);
        Self {
            cluster: cluster.clone(),
            watches: setup.nodes.is_some().then(|| namespaces.each_ref().map(watch)),
            namespaces,
            expected: setup.expected.clone(),
            since: None,
            seen: HashSet::new(),
        }
    }

    /// Begins with the events since `since`. The times of the events count from `since`.
    pub(super) fn begin(&mut self, since: Timestamp) {
        self.since = Some(since);
    }

    /// Returns the new events since the last call, none before [`Events::begin`]. Events that cannot be read now are
    /// returned by a later call.
    pub(super) async fn fresh(&mut self) -> Vec<EventMark> {
        let Some(since) = self.since else {
            return Vec::new();
        };
        let with_nodes = self.watches.is_some();
        let mut marks: Vec<EventMark> = self
            .read()
            .await
            .into_iter()
            .filter(|event| event.at >= since && is_about(&event.regarding, &self.expected, with_nodes))
            .filter(|event| self.seen.insert(event.identity.clone()))
            .map(|event| EventMark {
                at: event.at.duration_since(since).as_secs_f64(),
                regarding: format!("{}/{}", event.regarding.0, event.regarding.1),
                reporter: event.reporter.clone(),
                reason: event.reason.clone(),
                note: event.note.clone(),
                warning: event.warning,
            })
            .collect();
        marks.sort_by(|one, other| one.at.total_cmp(&other.at));
        marks
    }

    async fn read(&self) -> Vec<Arc<ClusterEvent>> {
        let [namespace, of_nodes, of_autoscaler] = self.namespaces.each_ref();
        let found: [Vec<Arc<ClusterEvent>>; 3] = if let Some([one, other, third]) = &self.watches {
            let (one, other, third) = join!(one.objects(), other.objects(), third.objects());
            [one, other, third].map(Result::unwrap_or_default)
        } else {
            let (one, other, third) = join!(
                self.cluster.events(namespace),
                self.cluster.events(of_nodes),
                self.cluster.events(of_autoscaler)
            );
            let shared = |events: Vec<ClusterEvent>| events.into_iter().map(Arc::new).collect();
            [one, other, third].map(|events| shared(events.unwrap_or_default()))
        };
        found.into_iter().flatten().collect()
    }
}

/// Returns whether an event is about one of the HPAs, its Deployment, `ReplicaSet`s or pods, about a node, or about the
/// cluster-autoscaler; with `--nodes` also about an object of Karpenter.
fn is_about((kind, name): &(String, String), expected: &[Expected], with_nodes: bool) -> bool {
    if with_nodes && matches!(kind.as_str(), "NodeClaim" | "NodePool") {
        return true;
    }
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
