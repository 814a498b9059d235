//! What the tests of a delivery read: the progress of rollouts, the pods of `ReplicaSet`s, and the places of nodes.

use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::Node,
};
use kube::{Api, api::ListParams};

use super::{
    client::Cluster,
    nodes::{NodeState, ZONE},
    read::{ReadResult, read},
    views::{Hpa, Workload},
};

/// The label that holds the region of a node.
const REGION: &str = "topology.kubernetes.io/region";

/// The annotation with the number of the rollout that a `ReplicaSet` belongs to.
const REVISION: &str = "deployment.kubernetes.io/revision";

/// The progress of the rollout of a Deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollout {
    /// The label selector of its pods.
    pub selector: String,
    /// The number of replicas in the spec.
    pub wanted: i32,
    /// The number of pods of all rollouts.
    pub total: i32,
    /// The number of pods of this rollout.
    pub updated: i32,
    /// The number of available pods of all rollouts.
    pub available: i32,
    /// Whether the controller has seen the last change of the spec.
    pub observed: bool,
    /// Why the controller considers the rollout as stuck: it made no progress within `progressDeadlineSeconds`.
    pub stuck: Option<String>,
}

impl From<Deployment> for Rollout {
    fn from(object: Deployment) -> Self {
        let generation = object.metadata.generation;
        let status = object.status.clone().unwrap_or_default();
        let workload = Workload::from(object);
        let mut conditions = status.conditions.unwrap_or_default().into_iter();
        let stuck = conditions.find(|condition| {
            condition.type_ == "Progressing"
                && condition.reason.as_deref() == Some("ProgressDeadlineExceeded")
        });
        Self {
            selector: workload.selector,
            wanted: workload.replicas,
            total: status.replicas.unwrap_or(0),
            updated: status.updated_replicas.unwrap_or(0),
            available: status.available_replicas.unwrap_or(0),
            observed: status.observed_generation >= generation,
            stuck: stuck.map(|condition| condition.message.unwrap_or_default()),
        }
    }
}

impl Rollout {
    /// Returns what is missing; `None` if the rollout is complete. The conditions are those of `kubectl rollout status`.
    #[must_use]
    pub fn missing(&self) -> Option<String> {
        let Self {
            wanted,
            total,
            updated,
            available,
            ..
        } = self;
        if !self.observed {
            Some("the Deployment controller has not seen the change".to_owned())
        } else if updated < wanted {
            Some(format!("{updated} of {wanted} pods are new"))
        } else if total > updated {
            Some(format!("{} old pods are still there", total - updated))
        } else if available < updated {
            Some(format!("{available} of {updated} pods are available"))
        } else {
            None
        }
    }
}

/// The pods of a `ReplicaSet`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaSetState {
    /// The name.
    pub name: String,
    /// The number of its rollout. The highest of a Deployment is the current one.
    pub revision: u64,
    /// The number of replicas in the spec.
    pub wanted: i32,
    /// The number of ready pods.
    pub ready: i32,
}

impl From<ReplicaSet> for ReplicaSetState {
    fn from(object: ReplicaSet) -> Self {
        let annotations = object.metadata.annotations.unwrap_or_default();
        Self {
            name: object.metadata.name.unwrap_or_default(),
            revision: annotations
                .get(REVISION)
                .and_then(|text| text.parse().ok())
                .unwrap_or(0),
            wanted: object.spec.and_then(|spec| spec.replicas).unwrap_or(1),
            ready: object
                .status
                .and_then(|status| status.ready_replicas)
                .unwrap_or(0),
        }
    }
}

/// The place of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodePlace {
    /// The name of the node.
    pub name: String,
    /// The zone; `None` without a zone label.
    pub zone: Option<String>,
    /// The region; `None` without a region label.
    pub region: Option<String>,
    /// Whether new pods without tolerations may run there: the node is ready, not cordoned, not tainted, and stays.
    pub takes_pods: bool,
}

impl From<Node> for NodePlace {
    fn from(object: Node) -> Self {
        let spec = object.spec.clone().unwrap_or_default();
        let labels = object.metadata.labels.as_ref();
        let region = labels.and_then(|labels| labels.get(REGION).cloned());
        let zone = labels.and_then(|labels| labels.get(ZONE).cloned());
        let repels = |taint: &k8s_openapi::api::core::v1::Taint| {
            matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
        };
        let is_open =
            !spec.unschedulable.unwrap_or(false) && !spec.taints.unwrap_or_default().iter().any(repels);
        let state = NodeState::from(object);
        Self {
            name: state.name,
            zone,
            region,
            takes_pods: is_open && state.ready && !state.leaving,
        }
    }
}

impl Cluster {
    /// Returns the progress of a Deployment's rollout, or `None` if the Deployment does not exist.
    ///
    /// # Errors
    /// Returns an error if the request to the API server fails.
    pub async fn rollout(&self, namespace: &str, name: &str) -> ReadResult<Option<Rollout>> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
        Ok(read(api.get_opt(name)).await?.map(Rollout::from))
    }

    /// Returns the `ReplicaSet`s that match a label selector.
    ///
    /// # Errors
    /// Returns an error if the request to the API server fails.
    pub async fn replica_sets(&self, namespace: &str, selector: &str) -> ReadResult<Vec<ReplicaSetState>> {
        let api: Api<ReplicaSet> = Api::namespaced(self.client.clone(), namespace);
        let found = read(api.list(&ListParams::default().labels(selector))).await?;
        Ok(found.items.into_iter().map(ReplicaSetState::from).collect())
    }

    /// Returns all HPAs of a namespace.
    ///
    /// # Errors
    /// Returns an error if the request to the API server fails.
    pub async fn hpas(&self, namespace: &str) -> ReadResult<Vec<Hpa>> {
        let api: Api<HorizontalPodAutoscaler> = Api::namespaced(self.client.clone(), namespace);
        let found = read(api.list(&ListParams::default())).await?;
        Ok(found.items.into_iter().map(Hpa::from).collect())
    }

    /// Returns the places of all nodes.
    ///
    /// # Errors
    /// Returns an error if the request to the API server fails.
    pub async fn node_places(&self) -> ReadResult<Vec<NodePlace>> {
        let api: Api<Node> = Api::all(self.client.clone());
        let found = read(api.list(&ListParams::default())).await?;
        Ok(found.items.into_iter().map(NodePlace::from).collect())
    }
}
