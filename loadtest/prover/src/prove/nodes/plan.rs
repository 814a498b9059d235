//! What a run expects of the nodes. Pure functions.

use std::{collections::BTreeSet, time::Duration};

use schemars::JsonSchema;
use serde::Serialize;

use crate::cluster::{NodeAutoscaler, NodePool};

/// The time that the removal of the last node may take after the autoscaler's own delay.
///
/// Karpenter looks for a node to remove every 10 s, checks its decision again after 15 s, evicts the pods (their grace
/// period is 30 s by default), and waits for the end of the instance (1 to 2 min on EC2). Its default budget removes one
/// of ten nodes at a time, so a few nodes take a few such rounds. A cluster-autoscaler works in loops of 10 s and drains
/// one node at a time.
const REMOVAL: Duration = Duration::from_mins(10);

/// The kind of a node autoscaler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AutoscalerKind {
    /// Karpenter, with its API `karpenter.sh/v1`.
    Karpenter,
    /// A cluster-autoscaler.
    ClusterAutoscaler,
}

impl AutoscalerKind {
    /// All kinds.
    pub(super) const ALL: [Self; 2] = [Self::Karpenter, Self::ClusterAutoscaler];

    /// Returns the kind whose name the reporting controller of an event contains.
    pub(in super::super) fn of_reporter(reporter: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| reporter.contains(kind.name()))
    }

    /// Returns the name in reports. The reporting controller of the autoscaler's events contains it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Karpenter => "karpenter",
            Self::ClusterAutoscaler => "cluster-autoscaler",
        }
    }
}

/// What a run expects of the nodes.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct NodesPlan {
    /// The node autoscaler of the cluster.
    pub autoscaler: AutoscalerKind,
    /// The number of zones that the new nodes must be in; null for two if several zones are known.
    pub zones: Option<usize>,
    /// How many more ready nodes than another one a zone may have at the end of the step; null for any number.
    pub max_skew: Option<usize>,
    /// The zones that the `NodePool`s name, ordered.
    pub pool_zones: Vec<String>,
    /// The time from the end of the pods' scale-down until the number of nodes is as before the load, in seconds.
    pub deadline_seconds: f64,
}

/// Plans the part of a run that is about nodes. `zones`, `max_skew` and `deadline` are the values of the user.
///
/// # Errors
/// Returns a message that says what to install or to change if the cluster cannot add and remove nodes.
pub fn plan_nodes(
    found: Option<NodeAutoscaler>,
    zones: Option<usize>,
    max_skew: Option<usize>,
    deadline: Option<Duration>,
) -> Result<NodesPlan, String> {
    let Some(found) = found else {
        return Err(
            "the cluster has no node autoscaler: neither Karpenter's API (karpenter.sh/v1 with nodepools and nodeclaims), \
             nor a Deployment or a status ConfigMap of cluster-autoscaler in kube-system. Install Karpenter and a NodePool \
             (kubernetes/components/node-autoscaler/karpenter) or cluster-autoscaler, or omit --nodes"
                .to_owned(),
        );
    };
    let (autoscaler, delay, pool_zones) = match found {
        NodeAutoscaler::Karpenter(pools) => {
            let delay = consolidation_delay(&pools)?;
            let zones: BTreeSet<String> = pools.into_iter().flat_map(|pool| pool.zones).collect();
            (AutoscalerKind::Karpenter, delay, zones)
        }
        NodeAutoscaler::ClusterAutoscaler { scale_down_delay } => (
            AutoscalerKind::ClusterAutoscaler,
            scale_down_delay,
            BTreeSet::new(),
        ),
        NodeAutoscaler::UnsupportedKarpenter { versions } => {
            return Err(format!(
                "the cluster serves karpenter.sh as {}, not as v1: install Karpenter 1.0 or later, and a NodePool \
                 (kubernetes/components/node-autoscaler/karpenter), or omit --nodes",
                versions.join(", ")
            ));
        }
    };
    Ok(NodesPlan {
        autoscaler,
        zones,
        max_skew,
        pool_zones: pool_zones.into_iter().collect(),
        deadline_seconds: deadline.unwrap_or(delay + REMOVAL).as_secs_f64(),
    })
}

/// Returns the longest time for which a `NodePool` keeps a node that is no longer needed.
fn consolidation_delay(pools: &[NodePool]) -> Result<Duration, String> {
    if pools.is_empty() {
        return Err(
            "Karpenter has no NodePool, so it adds no node: apply a NodePool and its node class \
                    (kubernetes/components/node-autoscaler/karpenter), or omit --nodes"
                .to_owned(),
        );
    }
    if pools.iter().all(|pool| pool.problem.is_some()) {
        let problems: Vec<String> = pools
            .iter()
            .filter_map(|pool| Some(format!("{}: {}", pool.name, pool.problem.as_ref()?)))
            .collect();
        return Err(format!(
            "no NodePool is ready, so Karpenter adds no node: {}. See `kubectl describe nodepools`",
            problems.join("; ")
        ));
    }
    let delays = pools.iter().filter_map(|pool| pool.consolidate_after);
    delays.max().ok_or_else(|| {
        "every NodePool has consolidateAfter: Never, so Karpenter does not remove nodes after the load: set \
         spec.disruption.consolidateAfter, for example 30s, or omit --nodes"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(name: &str, consolidate_after: Option<Duration>) -> NodePool {
        NodePool {
            name: name.to_owned(),
            consolidate_after,
            zones: vec!["zone-b".to_owned(), "zone-a".to_owned()],
            problem: None,
        }
    }

    fn plan(found: NodeAutoscaler) -> Result<NodesPlan, String> {
        plan_nodes(Some(found), None, None, None)
    }

    #[test]
    fn the_deadline_is_the_delay_of_the_autoscaler_and_ten_minutes() {
        let pools = vec![
            pool("default", Some(Duration::from_secs(30))),
            pool("static", None),
        ];
        let karpenter = plan(NodeAutoscaler::Karpenter(pools)).unwrap();
        assert!((karpenter.deadline_seconds - 630.0).abs() < f64::EPSILON);
        assert_eq!(karpenter.pool_zones, ["zone-a", "zone-b"]);
        let found = NodeAutoscaler::ClusterAutoscaler {
            scale_down_delay: Duration::from_mins(3),
        };
        assert!((plan(found.clone()).unwrap().deadline_seconds - 780.0).abs() < f64::EPSILON);
        let own = plan_nodes(Some(found), Some(3), Some(1), Some(Duration::from_mins(1))).unwrap();
        assert!((own.deadline_seconds - 60.0).abs() < f64::EPSILON);
        assert_eq!((own.zones, own.max_skew), (Some(3), Some(1)));
    }

    #[test]
    fn a_cluster_that_cannot_add_or_remove_nodes_is_rejected_with_the_remedy() {
        let error = plan_nodes(None, None, None, None).unwrap_err();
        assert!(
            error.contains("Install Karpenter") && error.contains("omit --nodes"),
            "{error}"
        );
        let versions = vec!["v1beta1".to_owned()];
        let error = plan(NodeAutoscaler::UnsupportedKarpenter { versions }).unwrap_err();
        assert!(error.contains("karpenter.sh as v1beta1, not as v1"), "{error}");
        let error = plan(NodeAutoscaler::Karpenter(Vec::new())).unwrap_err();
        assert!(error.contains("apply a NodePool"), "{error}");
        let error = plan(NodeAutoscaler::Karpenter(vec![pool("default", None)])).unwrap_err();
        assert!(error.contains("consolidateAfter: Never"), "{error}");
        let broken = NodePool {
            problem: Some("NodeClassNotReady: no such class".to_owned()),
            ..pool("default", None)
        };
        let error = plan(NodeAutoscaler::Karpenter(vec![broken])).unwrap_err();
        assert!(
            error.contains("default: NodeClassNotReady: no such class"),
            "{error}"
        );
    }
}
