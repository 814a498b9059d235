//! One look at everything that the HPAs and their Deployments are doing.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use tokio::{join, task::JoinSet};

use super::{
    plan::Expected,
    timeline::{EventMark, HpaSample},
};
use crate::cluster::{Cluster, NodeState, PodState, ReadError};

/// What a look found: what could be read, and what could not.
#[derive(Debug, Default)]
pub(super) struct Observation {
    pub(super) hpas: BTreeMap<String, HpaSample>,
    /// The pods of each HPA.
    pub(super) pods: BTreeMap<String, Vec<PodState>>,
    /// `None` where they cannot be read, which is no problem: it takes rights in the whole cluster.
    pub(super) nodes: Option<Vec<NodeState>>,
    pub(super) problem: Option<String>,
}

/// Looks at every HPA at the same time.
pub(super) async fn observe(cluster: &Cluster, namespace: &str, expected: &[Expected]) -> Observation {
    let mut looks = JoinSet::new();
    for one in expected {
        let (cluster, namespace, one) = (cluster.clone(), namespace.to_owned(), one.clone());
        looks.spawn(async move {
            let found = look(&cluster, &namespace, &one).await;
            (one.hpa, found)
        });
    }
    let (nodes, looks) = join!(cluster.nodes(), looks.join_all());
    let mut observation = Observation {
        nodes: nodes.ok(),
        ..Observation::default()
    };
    for (name, found) in looks {
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

async fn look(
    cluster: &Cluster,
    namespace: &str,
    expected: &Expected,
) -> Result<(HpaSample, Vec<PodState>), ReadError> {
    let gone = |what: &str| ReadError(format!("{what} is gone"));
    let (hpa, workload) = join!(
        cluster.hpa(namespace, &expected.hpa),
        cluster.workload(namespace, &expected.deployment)
    );
    let hpa = hpa?.ok_or_else(|| gone("the HPA"))?;
    let workload = workload?.ok_or_else(|| gone("the Deployment"))?;
    let (pods, samples) = join!(
        cluster.pods(namespace, &workload.selector),
        cluster.pod_samples(namespace, &expected.metric, &workload.selector)
    );
    // Without a value the metric shows as missing; that is a finding, and no reason to lose the rest.
    let samples = samples.unwrap_or_default();
    let pods = pods?;
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

/// Where events about nodes are, and those of a cluster-autoscaler about itself.
const NODE_EVENTS: &str = "default";
const AUTOSCALER_EVENTS: &str = "kube-system";

/// The object by which a cluster-autoscaler speaks of itself.
const AUTOSCALER_STATUS: &str = "cluster-autoscaler-status";

/// The events that are about what is watched, each once.
#[derive(Debug)]
pub(super) struct Events {
    since: Timestamp,
    seen: HashSet<(String, String)>,
}

impl Events {
    /// From `since` on, which becomes the moment 0.
    pub(super) fn since(since: Timestamp) -> Self {
        Self {
            since,
            seen: HashSet::new(),
        }
    }

    /// Those that have come since the last call. None where they cannot be read: the next look will find them.
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

/// Whether an event is about one of the HPAs, their Deployments, the pods of these and what owns them, or the nodes and
/// who adds them.
fn is_about((kind, name): &(String, String), expected: &[Expected]) -> bool {
    if kind == "Node" || (kind == "ConfigMap" && name == AUTOSCALER_STATUS) {
        return true;
    }
    expected.iter().any(|one| match kind.as_str() {
        "HorizontalPodAutoscaler" => *name == one.hpa,
        "Deployment" => *name == one.deployment,
        "ReplicaSet" | "Pod" => name
            .strip_prefix(&one.deployment)
            .is_some_and(|rest| rest.starts_with('-')),
        _ => false,
    })
}
