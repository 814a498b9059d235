//! The metric that an HPA scales on. Only this module distinguishes the types of metrics.

use std::fmt;

use engine::units::short;
use schemars::JsonSchema;
use serde::Serialize;

use super::watched_pods::WatchedPods;
use crate::cluster::{Cluster, ExternalMetric, ExternalTarget, Hpa, PodsMetric, ReadResult};

/// The metric that an HPA scales on. It must measure requests per second.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ScalingMetric {
    /// A metric of type `Pods`: one value per pod.
    Pods(PodsMetric),
    /// A metric of type `External`: no values of single pods. The type of the target decides what the value must be.
    ///
    /// With an `averageValue`, the HPA divides the value by the number of pods: the value must be the total of all pods. With
    /// a `value`, the HPA multiplies the number of ready pods by value / target: only an average per pod leads to a stable
    /// number of pods.
    /// <https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details>
    External(ExternalMetric),
}

/// The metric of all pods together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct PodsTotal {
    /// The sum over all pods, in requests per second; `None` if the metric has no value.
    pub(super) sum: Option<f64>,
    /// The number of pods with a value; `None` for a metric without values of single pods.
    pub(super) pods: Option<usize>,
}

impl ScalingMetric {
    /// Returns the metric of an HPA with exactly one metric.
    ///
    /// # Errors
    /// Returns a message if the HPA has several metrics, or one that cannot be predicted from the rate of the requests.
    pub fn of(hpa: &Hpa) -> Result<Self, String> {
        let metric = hpa.metric.clone().map(Self::Pods);
        let metric = metric.or_else(|| hpa.external_metric.clone().map(Self::External));
        let reason = match (&hpa.metric_types[..], metric) {
            ([_], Some(metric)) if metric.target_per_pod() > 0.0 => return Ok(metric),
            ([_], Some(_)) => "the target of its metric is not above 0".to_owned(),
            ([kind], None) if kind.ends_with("Resource") => {
                format!("its metric is of type {kind}, which does not follow from the rate of the requests")
            }
            ([kind], None) => format!("its metric is of type {kind}, which `scale` does not read"),
            ([], _) => "it has no metric".to_owned(),
            (several, _) => format!(
                "it has {} metrics ({}), of which the one that needs the most replicas decides",
                several.len(),
                several.join(", ")
            ),
        };
        Err(format!(
            "the scaling of {} cannot be predicted: {reason}; it must have exactly one metric, of type Pods or External, that \
             measures requests per second",
            hpa.name
        ))
    }

    /// Returns the target, in requests per second and pod.
    #[must_use]
    pub fn target_per_pod(&self) -> f64 {
        match self {
            Self::Pods(metric) => metric.target_per_pod,
            Self::External(metric) => metric.target,
        }
    }

    /// Returns a label for the metric of all pods together.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self.external_target() {
            None => "metric",
            Some(ExternalTarget::AverageValue) => "external metric",
            Some(ExternalTarget::Value) => "external metric × ready pods",
        }
    }

    /// Describes the metric of all pods together, as the subject of a sentence.
    pub(super) fn describe_total(&self) -> &'static str {
        match self.external_target() {
            None => "the metric, summed over the pods,",
            Some(ExternalTarget::AverageValue) => "the external metric, a total of all pods,",
            Some(ExternalTarget::Value) => "the external metric, an average per pod, times the ready pods",
        }
    }

    /// Describes what a comparison of the total with the rate cannot show.
    pub(super) fn blind_spot(&self) -> Option<&'static str> {
        Some(match self.external_target()? {
            ExternalTarget::AverageValue => "single pods, for which an external metric has no values",
            ExternalTarget::Value => {
                "single pods, for which an external metric has no values: an average does not show that one is missing in it"
            }
        })
    }

    /// Describes why the HPA may add too many pods, although it works as configured.
    pub(super) fn overshoot(&self) -> Option<&'static str> {
        (self.external_target()? == ExternalTarget::Value).then_some(
            "with a target of type Value, the HPA multiplies the ready pods by value / target: the value must be an average per \
             pod, not a total, and must follow new pods before the next sync; otherwise use an averageValue and a total",
        )
    }

    fn external_target(&self) -> Option<ExternalTarget> {
        match self {
            Self::Pods(_) => None,
            Self::External(metric) => Some(metric.target_type),
        }
    }

    /// Reads the metric of these pods.
    ///
    /// # Errors
    /// Returns an error if the request to the API server fails, or if the metric has no value.
    pub(super) async fn read(
        &self,
        cluster: &Cluster,
        namespace: &str,
        pods: &WatchedPods,
    ) -> ReadResult<PodsTotal> {
        match self {
            Self::Pods(metric) => {
                let samples = cluster.pod_samples(namespace, metric, &pods.selector).await?;
                Ok(PodsTotal {
                    sum: sum(samples.iter().map(|sample| sample.value)),
                    pods: Some(samples.len()),
                })
            }
            Self::External(metric) => {
                // The HPA adds the values of all series that match the selector.
                let values = cluster.external_values(namespace, metric).await?;
                let value = sum(values.iter().map(|value| value.value));
                let factor = match metric.target_type {
                    ExternalTarget::AverageValue => 1.0,
                    ExternalTarget::Value => pods.ready().await?,
                };
                Ok(PodsTotal {
                    sum: value.map(|value| value * factor),
                    pods: None,
                })
            }
        }
    }
}

fn sum(values: impl Iterator<Item = f64>) -> Option<f64> {
    values.reduce(|one, other| one + other)
}

/// The target and the name, for example `50 of http_requests_per_second per pod`.
impl fmt::Display for ScalingMetric {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = short(self.target_per_pod());
        match self {
            Self::Pods(metric) => write!(formatter, "{target} of {} per pod", metric.name),
            Self::External(metric) => {
                let name = &metric.name;
                let meaning = match metric.target_type {
                    ExternalTarget::AverageValue => "per pod",
                    ExternalTarget::Value => "as an average per pod",
                };
                write!(formatter, "{target} of the external metric {name} {meaning}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::plan::tests::hpa, *};

    fn external(target_type: ExternalTarget) -> Hpa {
        Hpa {
            metric: None,
            external_metric: Some(ExternalMetric {
                name: "s0-prometheus".to_owned(),
                selector: None,
                target: 50.0,
                target_type,
            }),
            metric_types: vec!["External".to_owned()],
            ..hpa()
        }
    }

    #[test]
    fn the_text_says_what_the_value_of_an_external_metric_means() {
        let text = |hpa: &Hpa| ScalingMetric::of(hpa).unwrap().to_string();
        assert_eq!(text(&hpa()), "50 of http_requests_per_second per pod");
        assert_eq!(
            text(&external(ExternalTarget::AverageValue)),
            "50 of the external metric s0-prometheus per pod"
        );
        assert_eq!(
            text(&external(ExternalTarget::Value)),
            "50 of the external metric s0-prometheus as an average per pod"
        );
    }

    #[test]
    fn a_metric_that_cannot_be_predicted_is_rejected_with_the_reason() {
        let of_types = |types: &[&str]| Hpa {
            metric: None,
            external_metric: None,
            metric_types: types.iter().map(|kind| (*kind).to_owned()).collect(),
            ..hpa()
        };
        let mut zero = external(ExternalTarget::Value);
        zero.external_metric.as_mut().unwrap().target = 0.0;
        let mut two = external(ExternalTarget::AverageValue);
        two.metric_types.push("Resource".to_owned());
        for (hpa, reason) in [
            (of_types(&[]), "it has no metric"),
            (
                of_types(&["Object"]),
                "of type Object, which `scale` does not read",
            ),
            (
                of_types(&["Resource"]),
                "of type Resource, which does not follow from the rate",
            ),
            (zero, "not above 0"),
            (two, "it has 2 metrics (External, Resource)"),
        ] {
            let text = ScalingMetric::of(&hpa).unwrap_err();
            for part in [reason, "app-a", "exactly one metric, of type Pods or External"] {
                assert!(text.contains(part), "{part:?} is missing in: {text}");
            }
        }
    }
}
