//! The links of a chain of metrics, and what can be said of each.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

/// The links, in the order of cause and effect: a broken one breaks those after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LinkName {
    /// The HPA exists and scales on a metric of its pods.
    Hpa,
    /// The Deployment and its pods are there and ready.
    Pods,
    /// Prometheus scrapes the pods.
    PrometheusScrape,
    /// The pods export the series.
    ServiceMetric,
    /// The API server reaches and trusts the adapter.
    Apiservice,
    /// The adapter offers the metric that the HPA asks for.
    AdapterRule,
    /// Every ready pod has a fresh value.
    PodSamples,
    /// The HPA controller can compute replicas from it.
    HpaActive,
}

impl fmt::Display for LinkName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Hpa => "hpa",
            Self::Pods => "pods",
            Self::PrometheusScrape => "prometheus-scrape",
            Self::ServiceMetric => "service-metric",
            Self::Apiservice => "apiservice",
            Self::AdapterRule => "adapter-rule",
            Self::PodSamples => "pod-samples",
            Self::HpaActive => "hpa-active",
        })
    }
}

/// Whether a link holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It holds.
    Ok,
    /// It does not.
    Broken,
    /// It cannot be told, because one before it is broken.
    Unknown,
}

/// One link and what was found of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Link {
    /// Which.
    pub link: LinkName,
    /// Whether it holds.
    pub state: State,
    /// What was found.
    pub detail: String,
    /// Where to look, for a broken one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub look_at: Option<String>,
}

/// All links of one HPA's chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Diagnosis {
    /// The HPA.
    pub hpa: String,
    /// Every link, in order.
    pub links: Vec<Link>,
}

impl Diagnosis {
    /// The first broken link: what breaks the others.
    #[must_use]
    pub fn root_cause(&self) -> Option<&Link> {
        self.links.iter().find(|link| link.state == State::Broken)
    }

    /// Whether every link holds.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.links.iter().all(|link| link.state == State::Ok)
    }

    /// The state of one link.
    #[must_use]
    pub fn state(&self, name: LinkName) -> Option<State> {
        self.links
            .iter()
            .find(|link| link.link == name)
            .map(|link| link.state)
    }
}
