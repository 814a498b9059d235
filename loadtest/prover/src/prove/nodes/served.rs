//! Who served the requests, by zone and node.

use std::collections::{BTreeMap, HashMap, HashSet};

use engine::units::to_f64;
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    super::shares::PodShare,
    record::{NodesRecord, PodPlacement, place},
};

/// The requests that the pods of the HPAs on one node served.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct ServedByNode {
    /// The zone of the node; null without a zone label.
    pub zone: Option<String>,
    /// The name of the node.
    pub node: String,
    /// Whether the node came during the run.
    pub is_new: bool,
    /// The number of pods that were on the node during the run.
    pub pods: usize,
    /// The number of responses of the step that name one of these pods in `x-served-by`; null if no response of the step
    /// names a pod of the same HPAs, for example because their pods are behind another service.
    pub step: Option<u64>,
    /// The same for the light load while scaling down.
    pub tail: Option<u64>,
    /// The number of requests of the step that these pods counted, as scraped by Prometheus; null if it has no count.
    pub counted: Option<f64>,
}

impl ServedByNode {
    /// Returns the number of requests of the step: from the responses, or else from Prometheus.
    #[must_use]
    pub fn of_step(&self) -> Option<f64> {
        self.step.map(to_f64).or(self.counted)
    }

    /// Describes whether the node came during the run.
    #[must_use]
    pub fn age(&self) -> &'static str {
        if self.is_new {
            "new"
        } else {
            "from before the load"
        }
    }

    /// Returns the name of the node and the zone.
    pub(super) fn place(&self) -> String {
        place(&self.node, self.zone.as_deref())
    }
}

/// Sums the requests by node, ordered by zone and node. `step` and `tail` are the numbers of responses by pod.
pub(in super::super) fn served_by_node(
    record: &NodesRecord,
    shares: &[PodShare],
    step: Option<&BTreeMap<String, u64>>,
    tail: Option<&BTreeMap<String, u64>>,
) -> Vec<ServedByNode> {
    let pods: HashMap<&str, &str> = record
        .pods
        .iter()
        .filter_map(|pod| Some((pod.pod.as_str(), pod.node.as_deref()?)))
        .collect();
    let shares: HashMap<&str, &PodShare> = shares.iter().map(|share| (share.pod.as_str(), share)).collect();
    let mut found: BTreeMap<&str, ServedByNode> = BTreeMap::new();
    for (pod, node) in &pods {
        let row = found.entry(*node).or_default();
        row.pods += 1;
        if let Some(counted) = shares.get(pod).and_then(|share| share.counted) {
            *row.counted.get_or_insert(0.0) += counted;
        }
    }
    for (load, count) in [
        (
            step,
            (|row| &mut row.step) as fn(&mut ServedByNode) -> &mut Option<u64>,
        ),
        (tail, |row| &mut row.tail),
    ] {
        let Some(load) = load else { continue };
        let named = |pod: &&PodPlacement| load.contains_key(&pod.pod);
        // The pods of another HPA may not name themselves: their nodes have no count, instead of none.
        let answering: HashSet<&str> = record
            .pods
            .iter()
            .filter(named)
            .map(|pod| pod.hpa.as_str())
            .collect();
        for pod in record
            .pods
            .iter()
            .filter(|pod| answering.contains(pod.hpa.as_str()))
        {
            if let Some(row) = pod.node.as_deref().and_then(|node| found.get_mut(node)) {
                *count(row).get_or_insert(0) += load.get(&pod.pod).copied().unwrap_or(0);
            }
        }
    }
    let lives: HashMap<&str, _> = record
        .nodes
        .iter()
        .map(|node| (node.name.as_str(), node))
        .collect();
    let mut rows: Vec<ServedByNode> = found
        .into_iter()
        .map(|(name, row)| ServedByNode {
            zone: lives.get(name).and_then(|life| life.zone.clone()),
            is_new: lives.get(name).is_some_and(|life| life.is_new),
            node: name.to_owned(),
            ..row
        })
        .collect();
    rows.sort_by(|one, other| (&one.zone, &one.node).cmp(&(&other.zone, &other.node)));
    rows
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            plan::{AutoscalerKind, NodesPlan},
            record::NodeCount,
        },
        *,
    };

    #[test]
    fn a_node_whose_pods_do_not_name_themselves_has_the_count_of_prometheus() {
        let all = [
            ("app-a", "app-a-0", "one"),
            ("app-a", "app-a-1", "two"),
            ("app-b", "app-b-0", "three"),
        ];
        let pods = all.map(|(hpa, pod, node)| PodPlacement {
            hpa: hpa.to_owned(),
            pod: pod.to_owned(),
            node: Some(node.to_owned()),
            ..PodPlacement::default()
        });
        let shares = all.map(|(hpa, pod, _)| PodShare {
            hpa: hpa.to_owned(),
            pod: pod.to_owned(),
            counted: Some(7.0),
            ..PodShare::default()
        });
        let record = NodesRecord {
            plan: NodesPlan {
                autoscaler: AutoscalerKind::Karpenter,
                zones: None,
                max_skew: None,
                pool_zones: Vec::new(),
                deadline_seconds: 60.0,
            },
            before: NodeCount::default(),
            most_ready: 0,
            ready_by_zone: BTreeMap::new(),
            back: None,
            end: NodeCount::default(),
            ended: 0.0,
            unsettled: None,
            nodes: Vec::new(),
            pods: pods.into(),
        };
        let step = BTreeMap::from([("app-a-0".to_owned(), 5)]);
        let rows = served_by_node(&record, &shares, Some(&step), None);
        let found: Vec<_> = rows
            .iter()
            .map(|row| (row.node.as_str(), row.step, row.of_step()))
            .collect();
        assert_eq!(
            found,
            [
                ("one", Some(5), Some(5.0)),
                ("three", None, Some(7.0)),
                ("two", Some(0), Some(0.0))
            ]
        );
    }
}
