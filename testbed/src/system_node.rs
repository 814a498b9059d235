//! The first node as a node of the system, as the overlays for EKS expect it: with the label and the taint of the node group `system` in
//! kubernetes/clusters/eks/base/cluster.yaml. Only what tolerates the taint runs there, so the pair runs on added nodes.

use std::time::Duration;

use anyhow::Result;

use crate::{cluster, kubeadm, progress};

/// The label of the nodes of the system.
const LABEL: &str = "role=system";

/// The taint of the nodes of the system. The pods of kubeadm tolerate it.
const TAINT: &str = "CriticalAddonsOnly=true:NoSchedule";

/// The deadline of a request of kubectl.
const REQUEST: Duration = Duration::from_mins(1);

/// Gives the first node the label and the taint. Its pods stay.
///
/// # Errors
/// When the cluster is not up.
pub fn reserve() -> Result<()> {
    progress::step("reserve the first node for the system", || {
        request(&["label", "--overwrite", "node", kubeadm::NODE_NAME, LABEL])?;
        request(&["taint", "--overwrite", "node", kubeadm::NODE_NAME, TAINT]).map(drop)
    })
}

/// Removes the taint, so that everything may run on the first node again.
///
/// # Errors
/// When the cluster is not up.
pub fn release() -> Result<()> {
    let key = TAINT.split('=').next().unwrap_or(TAINT);
    let taints = "--output=jsonpath={.spec.taints[*].key}";
    let found = request(&["get", "node", kubeadm::NODE_NAME, taints])?;
    if !found.split_whitespace().any(|found| found == key) {
        return Ok(());
    }
    progress::step("open the first node for all pods", || {
        request(&["taint", "node", kubeadm::NODE_NAME, &format!("{key}-")]).map(drop)
    })
}

fn request(arguments: &[&str]) -> Result<String> {
    progress::run_within(REQUEST, cluster::kubectl().args(arguments))
}
