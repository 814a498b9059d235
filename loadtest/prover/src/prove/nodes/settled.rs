//! Whether the nodes are at rest.

use std::sync::Arc;

use crate::cluster::{ClaimState, NodeState};

/// Returns why the nodes are not settled: one is coming or going, or is not ready.
pub(super) fn unsettled(nodes: &[Arc<NodeState>], claims: &[Arc<ClaimState>]) -> Option<String> {
    let unfinished = |claim: &&Arc<ClaimState>| claim.initialized.is_none() || claim.deleted.is_some();
    if let Some(claim) = claims.iter().find(unfinished) {
        let state = if claim.deleted.is_some() {
            "is being removed"
        } else {
            "is not initialized"
        };
        return Some(format!("the NodeClaim {} {state}", claim.name));
    }
    nodes.iter().find_map(|node| {
        let state = match (node.leaving, node.ready) {
            (true, _) => "is being removed",
            (false, false) => "is not ready",
            (false, true) => return None,
        };
        Some(format!("the node {} {state}", node.name))
    })
}
