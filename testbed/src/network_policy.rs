//! The agent that enforces network policies on the cluster: kube-network-policies, as a `DaemonSet`.
//!
//! A cluster starts without it: policies are then accepted, and have no effect.

use std::time::Duration;

use anyhow::Result;

use crate::{cluster, components, images, paths, progress};

/// The manifests of the agent, below the root of the workspace.
pub const MANIFESTS: &str = "kubernetes/clusters/testbed/network-policy-agent";

/// The deadline of a request of kubectl.
const REQUEST: Duration = Duration::from_mins(1);

/// The deadline for the agent to become ready on every node, as a flag of kubectl. kubectl then says what is missing.
const ROLLOUT: &str = "--timeout=120s";

/// The deadline of kubectl with [`ROLLOUT`].
const LONG: Duration = Duration::from_mins(3);

/// Enforces network policies on the running cluster, from now until the cluster stops.
///
/// # Errors
/// When the cluster is not up. When the agent cannot be built, or does not become ready.
pub fn enforce() -> Result<()> {
    components::build(&[components::KUBE_NETWORK_POLICIES])?;
    let image = images::network_policy_agent();
    progress::step("import the image of the network policy agent", || {
        image.write_if_stale()?;
        cluster::load(&[image.archive()])
    })?;
    progress::step("start the network policy agent on every node", || {
        let manifests = paths::workspace().join(MANIFESTS);
        progress::run_within(REQUEST, cluster::kubectl().args(["apply", "-k"]).arg(manifests))?;
        let agent = "daemonset/kube-network-policies";
        let rollout = ["rollout", "status", ROLLOUT, "--namespace=kube-system", agent];
        progress::run_within(LONG, cluster::kubectl().args(rollout)).map(drop)
    })
}

#[cfg(test)]
mod tests {
    use crate::kubeadm;

    #[test]
    fn the_rules_contain_the_pods_of_the_cluster_and_the_queue_of_the_agent() {
        let rules = include_str!("../../kubernetes/clusters/testbed/network-policy-agent/rules.txt");
        let agent = include_str!("../../kubernetes/clusters/testbed/network-policy-agent/daemon-set.yaml");
        let of_pods = format!(" {} -j KUBE-NETWORK-POLICIES", kubeadm::POD_SUBNET);
        assert_eq!(rules.matches(&of_pods).count(), 3, "{rules}");
        let queue = rules
            .split("--queue-num ")
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next());
        let queue = queue.expect("a queue");
        assert!(
            agent.contains(&format!("--nfqueue-id={queue}\n")),
            "queue {queue}"
        );
    }
}
