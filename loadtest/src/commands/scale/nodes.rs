//! Prepares the part of a run that is about nodes.

use engine::{BadConfiguration, units::short};
use prover::{
    cluster::{Cluster, ReadError},
    prove::{AutoscalerKind, NodesPlan, event_namespaces, plan_nodes},
};

use crate::options::NodesOptions;

/// Finds the node autoscaler, and checks that everything about nodes can be read. `namespace` is that of the HPAs. Returns `None`
/// without `--nodes`.
///
/// # Errors
/// [`BadConfiguration`] if the cluster cannot add and remove nodes, or does not allow to read them.
pub(in crate::commands) async fn plan(
    options: Option<NodesOptions>,
    cluster: &Cluster,
    namespace: &str,
) -> anyhow::Result<Option<NodesPlan>> {
    let Some(options) = options else {
        return Ok(None);
    };
    let unreadable = |what: &str, error: ReadError| {
        BadConfiguration::new(format!(
            "--nodes: {what} cannot be read: {error}. It needs `list` and `watch` for nodes, for nodepools and nodeclaims of \
             karpenter.sh, and for events"
        ))
    };
    let found = cluster.node_autoscaler().await;
    let found = found.map_err(|error| unreadable("the node autoscaler", error))?;
    let plan = plan_nodes(found, options.zones, options.max_skew, options.deadline);
    let plan = plan.map_err(|error| BadConfiguration::new(format!("--nodes: {error}")))?;
    let nodes = cluster.watch_nodes();
    nodes
        .objects()
        .await
        .map_err(|error| unreadable("the nodes", error))?;
    if plan.autoscaler == AutoscalerKind::Karpenter {
        let claims = cluster.watch_node_claims();
        claims
            .objects()
            .await
            .map_err(|error| unreadable("the NodeClaims", error))?;
    }
    for namespace in event_namespaces(namespace) {
        let events = cluster.watch_events(&namespace);
        events
            .objects()
            .await
            .map_err(|error| unreadable(&format!("the events in {namespace}"), error))?;
    }
    Ok(Some(plan))
}

/// Describes the plan in one line.
pub(super) fn describe(plan: &NodesPlan) -> String {
    format!(
        "nodes: {} adds them, and removes them within {} s after the pods\n",
        plan.autoscaler.name(),
        short(plan.deadline_seconds)
    )
}
