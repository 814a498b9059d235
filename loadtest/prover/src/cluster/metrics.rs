//! The two sources of measurements: the custom metrics API, and Prometheus behind it.

use std::{collections::BTreeMap, str::FromStr};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::{Deserialize, Serialize};

use super::quantity;

/// The API group and version in which the adapter serves the metrics of pods.
pub const CUSTOM_METRICS: &str = "custom.metrics.k8s.io/v1beta1";

/// The API group and version of the metrics that belong to no object.
pub const EXTERNAL_METRICS: &str = "external.metrics.k8s.io/v1beta1";

/// The value of an external metric for one set of labels.
#[derive(Clone, Debug, PartialEq)]
pub struct ExternalValue {
    /// The value, in the unit of the metric.
    pub value: f64,
    /// The time of the value.
    pub at: Option<Timestamp>,
}

/// The used fields of `ExternalMetricValueList` in `external.metrics.k8s.io/v1beta1`.
#[derive(Debug, Deserialize)]
pub(crate) struct ExternalMetricValueList {
    items: Vec<ExternalMetricValue>,
}

#[derive(Debug, Deserialize)]
struct ExternalMetricValue {
    timestamp: Option<Timestamp>,
    value: Quantity,
}

impl ExternalMetricValueList {
    pub(crate) fn values(self) -> Vec<ExternalValue> {
        let value = |item: ExternalMetricValue| {
            Some(ExternalValue {
                value: quantity::number(&item.value)?,
                at: item.timestamp,
            })
        };
        self.items.into_iter().filter_map(value).collect()
    }
}

/// The value of a custom metric for one pod.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PodSample {
    /// The name of the pod.
    pub pod: String,
    /// The value, in the unit of the metric.
    pub value: f64,
    /// The time of the sample.
    pub at: Option<Timestamp>,
}

/// The used fields of `MetricValueList` in `custom.metrics.k8s.io/v1beta1`.
#[derive(Debug, Deserialize)]
pub(crate) struct MetricValueList {
    items: Vec<MetricValue>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetricValue {
    described_object: DescribedObject,
    timestamp: Option<Timestamp>,
    value: Quantity,
}

#[derive(Debug, Deserialize)]
struct DescribedObject {
    name: String,
}

impl MetricValueList {
    pub(crate) fn samples(self) -> Vec<PodSample> {
        let value = |item: MetricValue| {
            Some(PodSample {
                value: quantity::number(&item.value)?,
                pod: item.described_object.name,
                at: item.timestamp,
            })
        };
        self.items.into_iter().filter_map(value).collect()
    }
}

/// The Service of Prometheus, which is queried through the API server's proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrometheusService {
    /// The namespace of the Service.
    pub namespace: String,
    /// The name of the Service.
    pub name: String,
    /// The number or name of the port.
    pub port: String,
}

impl PrometheusService {
    /// Returns the path of an instant query through the proxy.
    pub(crate) fn query_path(&self, query: &str) -> String {
        let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        format!("{}/query?query={query}", self.api_path())
    }

    /// Returns the path of the list of active targets through the proxy.
    pub(crate) fn targets_path(&self) -> String {
        format!("{}/targets?state=active", self.api_path())
    }

    fn api_path(&self) -> String {
        let Self {
            namespace,
            name,
            port,
        } = self;
        format!("/api/v1/namespaces/{namespace}/services/{name}:{port}/proxy/api/v1")
    }
}

impl FromStr for PrometheusService {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text
            .split_once('/')
            .and_then(|(namespace, rest)| Some((namespace, rest.split_once(':')?)));
        match parts {
            Some((namespace, (name, port))) if ![namespace, name, port].contains(&"") => Ok(Self {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                port: port.to_owned(),
            }),
            _ => Err(format!(
                "`{text}` is not a Service: write NAMESPACE/NAME:PORT, for example monitoring/prometheus:9090"
            )),
        }
    }
}

/// The response of Prometheus to an instant query. <https://prometheus.io/docs/prometheus/latest/querying/api/>
#[derive(Debug, Deserialize)]
pub(crate) struct QueryAnswer {
    data: Option<QueryData>,
    error: Option<String>,
}

#[derive(Debug, Deserialize)]
struct QueryData {
    result: Vec<Series>,
}

/// One series of an instant vector.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Series {
    metric: BTreeMap<String, String>,
    value: (f64, String),
}

impl QueryAnswer {
    pub(crate) fn series(self) -> Result<Vec<Series>, String> {
        match (self.data, self.error) {
            (Some(data), None) => Ok(data.result),
            (_, error) => Err(format!(
                "Prometheus rejects the query: {}",
                error.unwrap_or_default()
            )),
        }
    }
}

impl Series {
    pub(crate) fn label(&self, name: &str) -> String {
        self.metric.get(name).cloned().unwrap_or_default()
    }

    pub(crate) fn number(&self) -> f64 {
        self.value.1.parse().unwrap_or(f64::NAN)
    }
}

/// The used fields of Prometheus' list of targets.
/// <https://prometheus.io/docs/prometheus/latest/querying/api/#targets>
#[derive(Debug, Deserialize)]
pub(crate) struct TargetsAnswer {
    data: TargetsData,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TargetsData {
    active_targets: Vec<ActiveTarget>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ActiveTarget {
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    scrape_interval: String,
}

impl TargetsAnswer {
    /// Returns the scrape interval in seconds of each pod of a namespace and each job. Of several targets with the same pod and
    /// job, the longest interval counts.
    pub(crate) fn intervals(self, namespace: &str) -> BTreeMap<(String, String), f64> {
        let mut intervals = BTreeMap::new();
        for target in self.data.active_targets {
            let label = |name| target.labels.get(name).map_or("", String::as_str);
            // Prometheus writes `1m0s`, as Go does.
            let Ok(interval) = humantime::parse_duration(&target.scrape_interval) else {
                continue;
            };
            if label("namespace") == namespace {
                let key = (label("pod").to_owned(), label("job").to_owned());
                let longest = intervals.entry(key).or_insert(0.0_f64);
                *longest = longest.max(interval.as_secs_f64());
            }
        }
        intervals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_parses_from_namespace_name_and_port() {
        let service: PrometheusService = "monitoring/prometheus:9090".parse().unwrap();
        assert_eq!(
            service.query_path("up{namespace=\"a b\"}"),
            "/api/v1/namespaces/monitoring/services/prometheus:9090/proxy/api/v1/query?query=up%7Bnamespace%3D%22a+b%22%7D"
        );
        for text in ["prometheus", "monitoring/prometheus", "/p:1", "m/:1", "m/p:"] {
            assert!(text.parse::<PrometheusService>().is_err(), "{text}");
        }
    }
}
