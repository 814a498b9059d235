//! Plain values with the used fields of Kubernetes objects.

use std::time::Duration;

use engine::units::short;
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        autoscaling::v2::{
            HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec, MetricIdentifier, MetricSpec,
        },
        events::v1::Event,
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use schemars::JsonSchema;
use serde::Serialize;

use super::quantity;

/// The controller's default tolerance for an HPA that sets none (`--horizontal-pod-autoscaler-tolerance`).
pub const DEFAULT_TOLERANCE: f64 = 0.1;

/// The stabilisation window for scaling down of an HPA that sets none.
const DEFAULT_SCALE_DOWN_STABILISATION: Duration = Duration::from_mins(5);

/// A condition of a Kubernetes object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// The type, for example `ScalingActive`.
    pub kind: String,
    /// Whether the status is `True`; `Unknown` counts as false.
    pub holds: bool,
    /// The reason, one word.
    pub reason: String,
    /// The message, a sentence.
    pub message: String,
}

/// A metric of type `Pods` with an `averageValue` as its target.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct PodsMetric {
    /// The name in the custom metrics API.
    pub name: String,
    /// The target: the average value per pod.
    pub target_per_pod: f64,
    /// The label selector that the HPA sets for the metric.
    pub selector: Option<String>,
}

/// A metric of type `External`, as KEDA makes them.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct ExternalMetric {
    /// The name in the external metrics API.
    pub name: String,
    /// The label selector that the HPA sets for the metric.
    pub selector: Option<String>,
    /// The target value.
    pub target: f64,
    /// What the HPA compares with the target.
    pub target_type: ExternalTarget,
}

impl ExternalMetric {
    /// Describes the target, for example `50 per pod`.
    #[must_use]
    pub fn describe_target(&self) -> String {
        let scope = match self.target_type {
            ExternalTarget::AverageValue => "per pod",
            ExternalTarget::Value => "for the whole value",
        };
        format!("{} {scope}", short(self.target))
    }
}

/// What the HPA compares with the target of an external metric. The names are those of the fields of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum ExternalTarget {
    /// The value, divided by the number of pods.
    AverageValue,
    /// The whole value.
    Value,
}

/// A `HorizontalPodAutoscaler`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hpa {
    /// The name.
    pub name: String,
    /// The kind and name of the scale target, for example `Deployment/app-a`.
    pub target: String,
    /// The name of the scale target.
    pub target_name: String,
    /// The minimum number of replicas.
    pub min: i32,
    /// The maximum number of replicas.
    pub max: i32,
    /// The first metric of type `Pods`.
    pub metric: Option<PodsMetric>,
    /// The first metric of type `External`.
    pub external_metric: Option<ExternalMetric>,
    /// The types of all its metrics.
    pub metric_types: Vec<String>,
    /// How far a metric may exceed its target before the HPA adds replicas, as a ratio.
    pub scale_up_tolerance: f64,
    /// The stabilisation window for scaling down.
    #[serde(
        rename = "scale_down_stabilisation_seconds",
        serialize_with = "engine::units::serialize_seconds"
    )]
    pub scale_down_stabilisation: Duration,
    /// The number of replicas that the HPA wants now.
    pub desired: i32,
    /// The conditions from the status.
    pub conditions: Vec<Condition>,
}

impl Hpa {
    /// Returns the condition of this type.
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
            external_metric: spec.metrics.iter().flatten().find_map(external_metric),
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
        selector: metric_selector(&pods.metric),
    })
}

fn external_metric(metric: &MetricSpec) -> Option<ExternalMetric> {
    let external = metric.external.as_ref()?;
    let target = &external.target;
    let (quantity, target_type) = match (&target.average_value, &target.value) {
        (Some(average), _) => (average, ExternalTarget::AverageValue),
        (None, value) => (value.as_ref()?, ExternalTarget::Value),
    };
    Some(ExternalMetric {
        name: external.metric.name.clone(),
        selector: metric_selector(&external.metric),
        target: quantity::number(quantity)?,
        target_type,
    })
}

fn metric_selector(metric: &MetricIdentifier) -> Option<String> {
    let text = metric.selector.as_ref().map(selector);
    text.filter(|selector| !selector.is_empty())
}

/// Formats a label selector as a query parameter of the API.
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

/// The Deployment that an HPA scales.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Workload {
    /// The label selector of its pods.
    pub selector: String,
    /// The number of replicas in the spec.
    pub replicas: i32,
    /// The number of ready pods; a terminating pod does not count.
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

/// The `APIService` that registers the custom metrics API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ApiRegistration {
    /// The Service that serves the API, as `namespace/name`.
    pub service: String,
    /// Whether `caBundle` holds an authority that verifies the Service's certificate.
    pub has_ca_bundle: bool,
    /// Whether the API server skips the verification of the certificate.
    pub insecure_skip_tls_verify: bool,
    /// The condition `Available`.
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
    /// The UID and the resource version. A repeated event has the same UID and another version.
    pub identity: (String, String),
    /// The time of the last occurrence.
    pub at: Timestamp,
    /// The kind and name of the object that the event is about, for example `Pod` and `app-a-1`.
    pub regarding: (String, String),
    /// The component that reports the event, for example `default-scheduler`.
    pub reporter: String,
    /// The reason, one word.
    pub reason: String,
    /// The note, a sentence.
    pub note: String,
    /// Whether the event is a warning.
    pub warning: bool,
}

impl ClusterEvent {
    /// Returns `None` for an event without a time or an identity.
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
