//! What this program wants to know of Kubernetes' objects, and nothing else, as plain values.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        autoscaling::v2::{HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec, MetricSpec},
        core::v1::{ContainerState, Node, Pod},
        events::v1::Event,
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use schemars::JsonSchema;
use serde::Serialize;

use super::quantity;

/// The controller's tolerance where an HPA sets none of its own (`--horizontal-pod-autoscaler-tolerance`).
pub const DEFAULT_TOLERANCE: f64 = 0.1;

/// How long recommendations count on the way down where an HPA does not say.
const DEFAULT_SCALE_DOWN_STABILISATION: Duration = Duration::from_mins(5);

/// A condition of any object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// Which.
    pub kind: String,
    /// Whether it holds; `Unknown` counts as not.
    pub holds: bool,
    /// In one word.
    pub reason: String,
    /// In a sentence.
    pub message: String,
}

/// A metric of type Pods with an average value as its target.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct PodsMetric {
    /// Its name in the custom metrics API.
    pub name: String,
    /// The average for each pod that the HPA keeps.
    pub target_per_pod: f64,
    /// Further labels that the HPA asks for, as a selector.
    pub selector: Option<String>,
}

/// A `HorizontalPodAutoscaler`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hpa {
    /// Its name.
    pub name: String,
    /// What it scales, as in `Deployment/app-a`.
    pub target: String,
    /// The name of what it scales.
    pub target_name: String,
    /// The fewest replicas.
    pub min: i32,
    /// The most replicas.
    pub max: i32,
    /// The first metric of type Pods.
    pub metric: Option<PodsMetric>,
    /// All metrics it names, as their types.
    pub metric_types: Vec<String>,
    /// How far above its target a metric may be before replicas are added, as a share.
    pub scale_up_tolerance: f64,
    /// How long recommendations count on the way down.
    #[serde(
        rename = "scale_down_stabilisation_seconds",
        serialize_with = "engine::units::serialize_seconds"
    )]
    pub scale_down_stabilisation: Duration,
    /// Replicas that it wants now.
    pub desired: i32,
    /// Conditions as it reports them.
    pub conditions: Vec<Condition>,
}

impl Hpa {
    /// One condition by its name.
    #[must_use]
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }
}

impl From<HorizontalPodAutoscaler> for Hpa {
    fn from(object: HorizontalPodAutoscaler) -> Self {
        let spec = object.spec.unwrap_or_default();
        let status = object.status.unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default().into_iter();
        Self {
            name: object.metadata.name.unwrap_or_default(),
            target: format!("{}/{}", spec.scale_target_ref.kind, spec.scale_target_ref.name),
            target_name: spec.scale_target_ref.name.clone(),
            min: spec.min_replicas.unwrap_or(1),
            max: spec.max_replicas,
            scale_up_tolerance: tolerance(&spec),
            scale_down_stabilisation: stabilisation(&spec),
            metric_types: spec
                .metrics
                .iter()
                .flatten()
                .map(|metric| metric.type_.clone())
                .collect(),
            metric: spec.metrics.iter().flatten().find_map(pods_metric),
            desired: status.desired_replicas,
            conditions: conditions
                .map(|condition| Condition {
                    kind: condition.type_,
                    holds: condition.status == "True",
                    reason: condition.reason.unwrap_or_default(),
                    message: condition.message.unwrap_or_default(),
                })
                .collect(),
        }
    }
}

fn tolerance(spec: &HorizontalPodAutoscalerSpec) -> f64 {
    let rules = spec
        .behavior
        .as_ref()
        .and_then(|behavior| behavior.scale_up.as_ref());
    let tolerance = rules.and_then(|rules| rules.tolerance.as_ref());
    tolerance.and_then(quantity::number).unwrap_or(DEFAULT_TOLERANCE)
}

fn stabilisation(spec: &HorizontalPodAutoscalerSpec) -> Duration {
    let rules = spec
        .behavior
        .as_ref()
        .and_then(|behavior| behavior.scale_down.as_ref());
    let seconds = rules.and_then(|rules| rules.stabilization_window_seconds);
    seconds
        .and_then(|seconds| u64::try_from(seconds).ok())
        .map_or(DEFAULT_SCALE_DOWN_STABILISATION, Duration::from_secs)
}

fn pods_metric(metric: &MetricSpec) -> Option<PodsMetric> {
    let pods = metric.pods.as_ref()?;
    Some(PodsMetric {
        name: pods.metric.name.clone(),
        target_per_pod: pods.target.average_value.as_ref().and_then(quantity::number)?,
        selector: pods
            .metric
            .selector
            .as_ref()
            .map(selector)
            .filter(|selector| !selector.is_empty()),
    })
}

/// A label selector as the API's query parameters write it.
pub(crate) fn selector(selector: &LabelSelector) -> String {
    let labels = selector
        .match_labels
        .iter()
        .flatten()
        .map(|(name, value)| format!("{name}={value}"));
    let expressions = selector.match_expressions.iter().flatten().map(|requirement| {
        let (key, values) = (
            &requirement.key,
            requirement.values.clone().unwrap_or_default().join(","),
        );
        match requirement.operator.as_str() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.clone(),
        }
    });
    labels.chain(expressions).collect::<Vec<_>>().join(",")
}

/// What an HPA scales.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Workload {
    /// The label selector of its pods.
    pub selector: String,
    /// Replicas asked for.
    pub replicas: i32,
    /// Pods that are ready; pods being deleted do not count.
    pub ready: i32,
}

impl From<Deployment> for Workload {
    fn from(object: Deployment) -> Self {
        let spec = object.spec.unwrap_or_default();
        Self {
            selector: selector(&spec.selector),
            replicas: spec.replicas.unwrap_or(1),
            ready: object
                .status
                .and_then(|status| status.ready_replicas)
                .unwrap_or(0),
        }
    }
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PodState {
    /// Its name.
    pub name: String,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// The node that it was given, once the scheduler has found one.
    pub node: Option<String>,
    /// Whether all its containers run.
    pub started: bool,
    /// Why it is not ready, as far as its status tells.
    pub trouble: Option<String>,
}

impl From<Pod> for PodState {
    fn from(object: Pod) -> Self {
        let status = object.status.unwrap_or_default();
        let condition = |kind: &str| {
            status
                .conditions
                .iter()
                .flatten()
                .find(|condition| condition.type_ == kind)
        };
        let ready = condition("Ready").is_some_and(|condition| condition.status == "True");
        let container = status
            .container_statuses
            .iter()
            .flatten()
            .find(|container| !container.ready);
        let trouble = container
            .and_then(|container| container.state.as_ref())
            .and_then(waiting_or_ended)
            .or_else(|| {
                condition("PodScheduled")
                    .filter(|condition| condition.status != "True")?
                    .message
                    .clone()
            })
            .or_else(|| condition("Ready")?.message.clone())
            .or(status.phase);
        let running = |state: &ContainerState| state.running.is_some();
        let containers = status.container_statuses.as_deref().unwrap_or_default();
        let started = !containers.is_empty()
            && containers
                .iter()
                .all(|container| container.state.as_ref().is_some_and(running));
        Self {
            name: object.metadata.name.unwrap_or_default(),
            ready,
            terminating: object.metadata.deletion_timestamp.is_some(),
            node: object.spec.and_then(|spec| spec.node_name),
            started,
            trouble: if ready { None } else { trouble },
        }
    }
}

fn waiting_or_ended(state: &ContainerState) -> Option<String> {
    let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.clone());
    waiting.or_else(|| state.terminated.as_ref()?.reason.clone())
}

/// The label of a node that says where it stands.
const ZONE: &str = "topology.kubernetes.io/zone";

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NodeState {
    /// Its name.
    pub name: String,
    /// Its zone, if it is labelled with one.
    pub zone: Option<String>,
    /// Whether it is ready.
    pub ready: bool,
}

impl From<Node> for NodeState {
    fn from(object: Node) -> Self {
        let conditions = object.status.and_then(|status| status.conditions);
        Self {
            name: object.metadata.name.unwrap_or_default(),
            zone: object.metadata.labels.and_then(|mut labels| labels.remove(ZONE)),
            ready: conditions
                .unwrap_or_default()
                .iter()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True"),
        }
    }
}

/// The registration of the custom metrics API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ApiRegistration {
    /// The Service behind it, as `namespace/name`.
    pub service: String,
    /// Whether there is an authority to verify that Service's certificate with.
    pub has_ca_bundle: bool,
    /// Whether the certificate is not verified at all.
    pub insecure_skip_tls_verify: bool,
    /// `Available`, as the API server reports it.
    pub available: Option<Condition>,
}

impl From<APIService> for ApiRegistration {
    fn from(object: APIService) -> Self {
        let spec = object.spec.unwrap_or_default();
        let service = spec.service.map(|service| {
            format!(
                "{}/{}",
                service.namespace.unwrap_or_default(),
                service.name.unwrap_or_default()
            )
        });
        let conditions = object
            .status
            .and_then(|status| status.conditions)
            .unwrap_or_default();
        let available = conditions
            .into_iter()
            .find(|condition| condition.type_ == "Available");
        Self {
            service: service.unwrap_or_default(),
            has_ca_bundle: spec.ca_bundle.is_some_and(|bundle| !bundle.0.is_empty()),
            insecure_skip_tls_verify: spec.insecure_skip_tls_verify.unwrap_or(false),
            available: available.map(|condition| Condition {
                kind: condition.type_,
                holds: condition.status == "True",
                reason: condition.reason.unwrap_or_default(),
                message: condition.message.unwrap_or_default(),
            }),
        }
    }
}

/// An event of `events.k8s.io/v1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterEvent {
    /// Identity and revision; a repeated event comes again with another revision.
    pub identity: (String, String),
    /// When it last happened.
    pub at: Timestamp,
    /// What it is about, as `Pod/app-a-1`.
    pub regarding: (String, String),
    /// Who says so, as in `default-scheduler`.
    pub reporter: String,
    /// In one word.
    pub reason: String,
    /// In a sentence.
    pub note: String,
    /// Whether it is a warning.
    pub warning: bool,
}

impl ClusterEvent {
    /// `None` for an event without any time.
    #[must_use]
    pub fn of(object: Event) -> Option<Self> {
        let times = [
            object.series.map(|series| series.last_observed_time.0),
            object.deprecated_last_timestamp.map(|time| time.0),
            object.event_time.map(|time| time.0),
            object.metadata.creation_timestamp.map(|time| time.0),
        ];
        let regarding = object.regarding.unwrap_or_default();
        Some(Self {
            identity: (
                object.metadata.uid.or(object.metadata.name)?,
                object.metadata.resource_version.unwrap_or_default(),
            ),
            at: times.into_iter().flatten().next()?,
            regarding: (
                regarding.kind.unwrap_or_default(),
                regarding.name.unwrap_or_default(),
            ),
            reporter: object
                .reporting_controller
                .filter(|reporter| !reporter.is_empty())
                .or_else(|| object.deprecated_source?.component)
                .unwrap_or_default(),
            reason: object.reason.unwrap_or_default(),
            note: object.note.unwrap_or_default(),
            warning: object.type_.as_deref() == Some("Warning"),
        })
    }
}
