//! The links of the metrics chain.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

/// The links of the metrics chain, in the order of cause and effect: a broken link breaks the links after it.
///
/// The static check of the manifests and the live diagnosis of a cluster name a broken link by the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Link {
    /// The HPA exists and scales on a metric of its pods.
    Hpa,
    /// The Deployment exists and its pods are ready.
    Pods,
    /// Prometheus scrapes the pods.
    PrometheusScrape,
    /// The pods export the series that the adapter's rules query.
    ServiceMetric,
    /// The API server reaches the adapter and verifies its certificate.
    Apiservice,
    /// The adapter offers the metric that the HPA asks for.
    AdapterRule,
    /// Every ready pod has a fresh value.
    PodSamples,
    /// The HPA controller computes replicas from the metric.
    HpaActive,
}

impl Link {
    /// The name in reports, as in `prometheus-scrape`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hpa => "hpa",
            Self::Pods => "pods",
            Self::PrometheusScrape => "prometheus-scrape",
            Self::ServiceMetric => "service-metric",
            Self::Apiservice => "apiservice",
            Self::AdapterRule => "adapter-rule",
            Self::PodSamples => "pod-samples",
            Self::HpaActive => "hpa-active",
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}
