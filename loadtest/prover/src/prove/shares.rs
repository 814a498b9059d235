//! The share of each pod in the step, counted from the responses and by Prometheus, and the node of each pod.

use std::collections::BTreeMap;

use engine::LoadReport;
use schemars::JsonSchema;
use serde::Serialize;

use super::{observe::Observation, setup::Setup};
use crate::cluster::{Cluster, ReadResult};

/// The share of one pod in the step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct PodShare {
    /// The HPA of the pod.
    pub hpa: String,
    /// The name of the pod.
    pub pod: String,
    /// The node of the pod.
    pub node: Option<String>,
    /// The zone of the node; null without a zone label.
    pub zone: Option<String>,
    /// The number of responses of the step that name the pod in `x-served-by`. Null if no response names a pod of this
    /// HPA, for example because its pods are behind another service.
    pub answered: Option<u64>,
    /// The number of requests that the pod counted during the step, as scraped by Prometheus. The last scrape interval
    /// may be missing, and requests of other clients are included.
    pub counted: Option<f64>,
}

/// The node and the request counts of every pod.
#[derive(Clone, Debug, Default)]
pub struct Shares {
    /// The HPA and node of each pod, by the name of the pod.
    pods: BTreeMap<String, (String, Option<String>)>,
    zones: BTreeMap<String, Option<String>>,
    before: BTreeMap<String, f64>,
    after: Option<BTreeMap<String, f64>>,
}

impl Shares {
    /// Records the nodes of the pods.
    pub(super) fn record(&mut self, observation: &Observation) {
        for (hpa, pods) in &observation.pods {
            for pod in pods {
                self.pods
                    .insert(pod.name.clone(), (hpa.clone(), pod.node.clone()));
            }
        }
        for node in observation.nodes.iter().flatten() {
            self.zones.insert(node.name.clone(), node.zone.clone());
        }
    }

    /// Records the counts of the pods before the step.
    pub(super) fn begin(&mut self, counted: ReadResult<BTreeMap<String, f64>>) {
        self.pods.clear();
        self.before = counted.unwrap_or_default();
    }

    /// Records the counts of the pods at the end of the step.
    pub(super) fn end(&mut self, counted: ReadResult<BTreeMap<String, f64>>) {
        self.after = counted.ok();
    }

    /// Computes the shares, ordered by HPA and pod.
    #[must_use]
    pub fn of(&self, step: &LoadReport) -> Vec<PodShare> {
        let responses = |pod: &String| step.served_by.get(pod).copied();
        let share = |(pod, (hpa, node)): (&String, &(String, Option<String>))| {
            let pods_of_hpa = self.pods.iter().filter(|(_, (other, _))| other == hpa);
            let before = self.before.get(pod).copied().unwrap_or(0.0);
            PodShare {
                hpa: hpa.clone(),
                pod: pod.clone(),
                zone: node
                    .as_ref()
                    .and_then(|node| self.zones.get(node).cloned().flatten()),
                node: node.clone(),
                answered: pods_of_hpa
                    .clone()
                    .any(|(pod, _)| responses(pod).is_some())
                    .then(|| responses(pod).unwrap_or(0)),
                counted: self
                    .after
                    .as_ref()
                    .and_then(|after| Some(after.get(pod)? - before)),
            }
        };
        let mut shares: Vec<PodShare> = self.pods.iter().map(share).collect();
        shares.sort_by(|one, other| (&one.hpa, &one.pod).cmp(&(&other.hpa, &other.pod)));
        shares
    }
}

/// Queries Prometheus for the request count of each pod.
pub(super) async fn request_counts(cluster: &Cluster, setup: &Setup) -> ReadResult<BTreeMap<String, f64>> {
    let deployments: Vec<_> = setup
        .expected
        .iter()
        .map(|expected| expected.deployment.as_str())
        .collect();
    let query = format!(
        "sum by (pod) ({}{{namespace=\"{}\",pod=~\"({})-.*\"}})",
        setup.series,
        setup.namespace,
        deployments.join("|")
    );
    let found = cluster.prometheus(&setup.prometheus, &query).await?;
    Ok(found
        .iter()
        .map(|series| (series.label("pod"), series.number()))
        .collect())
}
