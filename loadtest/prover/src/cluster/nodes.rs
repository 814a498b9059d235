//! The state of nodes and of Karpenter's objects about them: the used fields of Node, `NodeClaim` and `NodePool`.
//! <https://karpenter.sh/docs/concepts/>

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::Node,
    apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta},
};
use kube::core::{
    ApiResource, GroupVersionKind,
    object::{NotUsed, Object},
};
use serde::{Deserialize, Serialize};

/// The label that holds the zone of a node.
pub(super) const ZONE: &str = "topology.kubernetes.io/zone";

/// The label that holds the instance type of a node.
const INSTANCE_TYPE: &str = "node.kubernetes.io/instance-type";

/// The taints of a node that Karpenter or a cluster-autoscaler is about to remove.
const LEAVING_TAINTS: [&str; 2] = ["karpenter.sh/disrupted", "ToBeDeletedByClusterAutoscaler"];

/// The group and version of Karpenter's objects.
pub(super) const KARPENTER: (&str, &str) = ("karpenter.sh", "v1");

/// The state of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NodeState {
    /// The name.
    pub name: String,
    /// The zone; `None` without a zone label.
    pub zone: Option<String>,
    /// The instance type; `None` without such a label.
    pub instance_type: Option<String>,
    /// Whether the node is ready.
    pub ready: bool,
    /// When the node joined the cluster.
    pub created: Option<Timestamp>,
    /// Since when the node is ready.
    pub ready_since: Option<Timestamp>,
    /// Whether a node autoscaler or somebody else removes the node: it is tainted or deleted.
    pub leaving: bool,
}

impl From<Node> for NodeState {
    fn from(object: Node) -> Self {
        let taints = object.spec.and_then(|spec| spec.taints).unwrap_or_default();
        let status = object.status.unwrap_or_default();
        let mut conditions = status.conditions.unwrap_or_default().into_iter();
        let ready = conditions.find(|condition| condition.type_ == "Ready" && condition.status == "True");
        let mut labels = object.metadata.labels.unwrap_or_default();
        Self {
            name: object.metadata.name.unwrap_or_default(),
            zone: labels.remove(ZONE),
            instance_type: labels.remove(INSTANCE_TYPE),
            ready: ready.is_some(),
            created: object.metadata.creation_timestamp.map(|time| time.0),
            ready_since: ready.and_then(|ready| Some(ready.last_transition_time?.0)),
            leaving: object.metadata.deletion_timestamp.is_some()
                || taints
                    .iter()
                    .any(|taint| LEAVING_TAINTS.contains(&taint.key.as_str())),
        }
    }
}

/// A `NodeClaim`: Karpenter's request for a node.
pub(super) type NodeClaim = Object<NotUsed, ClaimStatus>;

/// The used fields of the status of a `NodeClaim`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ClaimStatus {
    node_name: String,
    conditions: Vec<Condition>,
}

/// The state of a `NodeClaim`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimState {
    /// The name.
    pub name: String,
    /// The name of the node; `None` before the node has joined.
    pub node: Option<String>,
    /// The zone; `None` before the instance is launched.
    pub zone: Option<String>,
    /// The instance type; `None` before the instance is launched.
    pub instance_type: Option<String>,
    /// When Karpenter created the object.
    pub created: Option<Timestamp>,
    /// When the cloud provider had launched the instance.
    pub launched: Option<Timestamp>,
    /// When the node had joined the cluster.
    pub registered: Option<Timestamp>,
    /// When the node was ready and had all its resources.
    pub initialized: Option<Timestamp>,
    /// When the removal of the node began.
    pub deleted: Option<Timestamp>,
    /// The message of the first stage that is not reached, if Karpenter gives one.
    pub problem: Option<String>,
}

impl From<NodeClaim> for ClaimState {
    fn from(object: NodeClaim) -> Self {
        let ObjectMeta {
            name,
            labels,
            creation_timestamp,
            deletion_timestamp,
            ..
        } = object.metadata;
        let mut labels = labels.unwrap_or_default();
        let ClaimStatus {
            node_name,
            conditions,
        } = object.status.unwrap_or_default();
        let condition = |kind: &str| conditions.iter().find(|condition| condition.type_ == kind);
        let since = |kind: &str| {
            let holds = condition(kind).filter(|condition| condition.status == "True")?;
            Some(holds.last_transition_time.0)
        };
        let stages = ["Launched", "Registered", "Initialized"];
        let missing = stages.into_iter().find(|stage| since(stage).is_none());
        let message = |stage| Some(condition(stage)?.message.clone());
        Self {
            name: name.unwrap_or_default(),
            node: Some(node_name).filter(|node| !node.is_empty()),
            zone: labels.remove(ZONE),
            instance_type: labels.remove(INSTANCE_TYPE),
            created: creation_timestamp.map(|time| time.0),
            launched: since("Launched"),
            registered: since("Registered"),
            initialized: since("Initialized"),
            deleted: deletion_timestamp.map(|time| time.0),
            problem: missing.and_then(message).filter(|message| !message.is_empty()),
        }
    }
}

/// A `NodePool` as the API serves it.
pub(super) type KarpenterPool = Object<PoolSpec, PoolStatus>;

/// The used fields of the spec of a `NodePool`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct PoolSpec {
    disruption: Disruption,
    template: PoolTemplate,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
struct Disruption {
    consolidate_after: String,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct PoolTemplate {
    spec: PoolTemplateSpec,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct PoolTemplateSpec {
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Requirement {
    key: String,
    operator: String,
    values: Vec<String>,
}

/// The used fields of the status of a `NodePool`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct PoolStatus {
    conditions: Vec<Condition>,
}

/// A `NodePool`: the nodes that Karpenter may add.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodePool {
    /// The name.
    pub name: String,
    /// How long a node must be without changes of its pods before Karpenter may remove it; `None` for never.
    pub consolidate_after: Option<Duration>,
    /// The zones that the requirements list; empty if they list none.
    pub zones: Vec<String>,
    /// Why Karpenter cannot use the pool, from its condition `Ready`.
    pub problem: Option<String>,
}

impl From<KarpenterPool> for NodePool {
    fn from(object: KarpenterPool) -> Self {
        let PoolSpec { disruption, template } = object.spec;
        let after = disruption.consolidate_after;
        let requirements = template.spec.requirements.into_iter();
        let zones = requirements.filter(|part| part.key == ZONE && part.operator == "In");
        let conditions = object.status.unwrap_or_default().conditions;
        let not_ready = |condition: &&Condition| condition.type_ == "Ready" && condition.status == "False";
        Self {
            name: object.metadata.name.unwrap_or_default(),
            // Go and humantime agree on durations such as 1h30m. Karpenter's default is 0s.
            consolidate_after: (after != "Never")
                .then(|| humantime::parse_duration(&after).unwrap_or_default()),
            zones: zones.flat_map(|part| part.values).collect(),
            problem: conditions
                .iter()
                .find(not_ready)
                .map(|condition| format!("{}: {}", condition.reason, condition.message)),
        }
    }
}

/// Returns the resource of a kind of Karpenter.
pub(super) fn karpenter_resource(kind: &str, plural: &str) -> ApiResource {
    let (group, version) = KARPENTER;
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}
