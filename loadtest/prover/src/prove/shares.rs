//! Which pod served how much of the step, by the answers' own account and by that of Prometheus, and where each pod ran.

use std::collections::BTreeMap;

use engine::LoadReport;
use schemars::JsonSchema;
use serde::Serialize;

use super::{observe::Observation, setup::Setup};
use crate::cluster::{Cluster, ReadResult};

/// One pod's part of the step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct PodShare {
    /// The HPA that it belongs to.
    pub hpa: String,
    /// The pod.
    pub pod: String,
    /// Its node.
    pub node: Option<String>,
    /// That node's zone, if it is labelled with one.
    pub zone: Option<String>,
    /// Answers of the step that named it in `x-served-by`; nothing where no answer named any pod of this HPA, as with one
    /// behind another service.
    pub answered: Option<u64>,
    /// Requests that it counted from before the step until its end, as Prometheus had read them by then: up to a scrape less,
    /// and with those of other clients.
    pub counted: Option<f64>,
}

/// Where every pod was, and what Prometheus says of them.
#[derive(Clone, Debug, Default)]
pub struct Shares {
    /// HPA and node of each pod, by its name.
    places: BTreeMap<String, (String, Option<String>)>,
    zones: BTreeMap<String, Option<String>>,
    before: BTreeMap<String, f64>,
    after: Option<BTreeMap<String, f64>>,
}

impl Shares {
    /// Notes where the pods are.
    pub(super) fn note(&mut self, observation: &Observation) {
        for (hpa, pods) in &observation.pods {
            for pod in pods {
                self.places
                    .insert(pod.name.clone(), (hpa.clone(), pod.node.clone()));
            }
        }
        for node in observation.nodes.iter().flatten() {
            self.zones.insert(node.name.clone(), node.zone.clone());
        }
    }

    /// Notes what the pods had counted before the step.
    pub(super) fn begin(&mut self, counted: ReadResult<BTreeMap<String, f64>>) {
        self.places.clear();
        self.before = counted.unwrap_or_default();
    }

    /// Notes what they have counted at its end.
    pub(super) fn end(&mut self, counted: ReadResult<BTreeMap<String, f64>>) {
        self.after = counted.ok();
    }

    /// The shares, by HPA and pod.
    #[must_use]
    pub fn of(&self, step: &LoadReport) -> Vec<PodShare> {
        let answers = |pod: &String| step.served_by.get(pod).copied();
        let share = |(pod, (hpa, node)): (&String, &(String, Option<String>))| {
            let named = self.places.iter().filter(|(_, (of, _))| of == hpa);
            let before = self.before.get(pod).copied().unwrap_or(0.0);
            PodShare {
                hpa: hpa.clone(),
                pod: pod.clone(),
                zone: node
                    .as_ref()
                    .and_then(|node| self.zones.get(node).cloned().flatten()),
                node: node.clone(),
                answered: named
                    .clone()
                    .any(|(pod, _)| answers(pod).is_some())
                    .then(|| answers(pod).unwrap_or(0)),
                counted: self
                    .after
                    .as_ref()
                    .and_then(|after| Some(after.get(pod)? - before)),
            }
        };
        let mut shares: Vec<PodShare> = self.places.iter().map(share).collect();
        shares.sort_by(|one, other| (&one.hpa, &one.pod).cmp(&(&other.hpa, &other.pod)));
        shares
    }
}

/// What each pod has counted, as Prometheus has read it.
pub(super) async fn counted(cluster: &Cluster, setup: &Setup) -> ReadResult<BTreeMap<String, f64>> {
    let deployments: Vec<_> = setup.expected.iter().map(|one| one.deployment.as_str()).collect();
    let query = format!(
        "sum by (pod) ({}{{namespace=\"{}\",pod=~\"({})-.*\"}})",
        setup.series,
        setup.namespace,
        deployments.join("|")
    );
    let found = cluster.prometheus(&setup.prometheus, &query).await?;
    Ok(found.iter().map(|one| (one.label("pod"), one.number())).collect())
}
