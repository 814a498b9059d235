//! What the cluster refuses: connections that no policy allows, pods that the restricted profile forbids, and requests of service
//! accounts.

mod matrix;
mod network;
pub(crate) mod permissions;
mod strangers;

use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::{
    COMMAND_DEADLINE, apply_overlay, deploy, eventually, kubectl, kubectl_within, output, request, succeed,
    text, wait_for_chain, wait_for_rollouts, with_diagnostics, xtask,
};
use matrix::{Connections, Matrix};
use network::{Pod, Target};
use serde_json::Value;
use strangers::STRANGER;
use testbed::{cluster, kubeadm, wait};
use wiring::Link;

use crate::chain::wait_until_named;
use crate::scaling::wait_for_minimum;

/// Probes a cluster on which nothing enforces policies, and then starts the agent.
#[test]
fn only_the_documented_connections_are_possible() {
    with_diagnostics(|| {
        deploy()?;
        let agent = ["-n", "kube-system", "get", "daemonset", "-o", "name"];
        if kubectl(&agent)?.contains("kube-network-policies") {
            // An earlier run of this test started it, and nothing stops it but the end of the cluster.
            succeed(&mut xtask(&["cluster", "down"]))?;
            deploy()?;
        }
        // A pod and another one of the same Deployment.
        wait_for_minimum()?;
        let expected = Matrix::documented()?;
        let connections = Connections::find()?;

        // Without the agent, every connection is possible. So each refusal below comes from a policy.
        let unenforced = connections.probe()?;
        let differences = unenforced.differences(&expected.clone().open());
        ensure!(differences.is_empty(), "without the agent:\n{differences}");

        succeed(&mut xtask(&["cluster", "network-policy"]))?;
        let enforced = expect(&expected, &connections)?;
        println!("{}", enforced.table());

        // The pair answers, and the HPAs read their metrics.
        let app_a = SocketAddr::from(([127, 0, 0, 1], 30_080));
        let response = request(app_a, "PUT", "/jobs", &[("Authorization", "mytoken")])?;
        ensure!(response.starts_with("HTTP/1.1 200 "), "{response}");
        wait_for_chain()
    });
}

/// Probes the connections until they are the expected ones: a policy applies a moment after the agent has seen it.
fn expect(expected: &Matrix, connections: &Connections) -> Result<Matrix> {
    wait::until("the policies are enforced", Duration::from_secs(30), || {
        let matrix = connections.probe()?;
        let differences = matrix.differences(expected);
        ensure!(differences.is_empty(), "{}\n{differences}", matrix.table());
        Ok(matrix)
    })
}

/// The second node of [`with_a_second_node_the_same_connections_are_possible`].
const SECOND: &str = "second";

/// The node of a pod decides about its connections, from pods of other nodes too.
#[test]
fn with_a_second_node_the_same_connections_are_possible() {
    with_diagnostics(|| {
        deploy()?;
        wait_for_minimum()?;
        succeed(&mut xtask(&["cluster", "network-policy"]))?;
        let add = [
            "cluster",
            "node",
            "add",
            SECOND,
            "--zone=testbed-b",
            "--type=medium",
        ];
        succeed(&mut xtask(&add))?;
        let outcome = move_pods_to_the_second_node().and_then(|()| {
            let connections = Connections::find()?;
            ensure!(connections.cross_nodes(), "every connection is within a node");
            // Policies do not apply to the node of a pod, and the only pod of the adapter is on the other node.
            let expected = Matrix::documented()?.refusing("the node", "prometheus-adapter 9000");
            let matrix = expect(&expected, &connections)?;
            println!("between two nodes:\n{}", matrix.table());
            wait_for_chain()
        });
        // Later tests measure on one node, also after a failure.
        let restored = remove_the_second_node();
        outcome.and(restored)
    });
}

/// Moves the adapter and one pod of each service, and creates the pods without a purpose on the second node.
fn move_pods_to_the_second_node() -> Result<()> {
    strangers::remove()?;
    kubectl(&["cordon", kubeadm::NODE_NAME])?;
    let outcome = [
        ("sample-app", "app-a"),
        ("sample-app", "app-b"),
        ("monitoring", "prometheus-adapter"),
    ]
    .iter()
    .try_for_each(|(namespace, name)| {
        let label = format!("app.kubernetes.io/name={name}");
        let pods = kubectl(&["-n", namespace, "get", "pods", "-o", "name", "-l", &label])?;
        let pod = pods.lines().next().context("no pod")?;
        kubectl_within(COMMAND_DEADLINE, &["-n", namespace, "delete", pod]).map(drop)
    })
    .and_then(|()| wait_for_rollouts())
    .and_then(|()| strangers::create());
    let uncordoned = kubectl(&["uncordon", kubeadm::NODE_NAME]);
    outcome.and(uncordoned.map(drop))
}

fn remove_the_second_node() -> Result<()> {
    strangers::remove()?;
    let drain = [
        "drain",
        SECOND,
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--timeout=90s",
    ];
    kubectl_within(COMMAND_DEADLINE, &drain)?;
    succeed(&mut xtask(&["cluster", "node", "remove", SECOND]))?;
    wait_for_rollouts()
}

/// Without the policy that lets Prometheus connect to the pods, the chain must break.
#[test]
fn the_diagnosis_names_a_policy_that_blocks_prometheus() {
    with_diagnostics(|| {
        deploy()?;
        succeed(&mut xtask(&["cluster", "network-policy"]))?;
        wait_for_chain()?;
        kubectl(&["-n", "monitoring", "delete", "networkpolicy", "prometheus"])?;
        // The agent judges new connections only, and Prometheus keeps its connections open.
        let prometheus = "--selector=app.kubernetes.io/name=prometheus";
        kubectl(&["-n", "monitoring", "delete", "pod", prometheus])?;
        let named = wait_until_named(Link::PrometheusScrape);
        // Later tests need the policy, also after a failure.
        let restored = apply_overlay().and_then(|()| wait_for_chain());
        named.and(restored)
    });
}

#[test]
fn pods_that_the_restricted_profile_forbids_are_rejected() {
    with_diagnostics(|| {
        deploy()?;
        for namespace in ["sample-app", "monitoring"] {
            let privileged = r#"{"spec": {"containers": [{"name": "pod", "image": "pause", "securityContext": {"privileged": true}}]}}"#;
            let overrides = format!("--overrides={privileged}");
            let answer = output(cluster::kubectl().args([
                "-n",
                namespace,
                "run",
                "privileged",
                "--image=pause",
                "--dry-run=server",
                &overrides,
            ]))?;
            let answer = text(&answer);
            ensure!(
                answer.contains(r#"violates PodSecurity "restricted:latest": privileged"#),
                "{namespace}: {answer}"
            );
        }
        Ok(())
    });
}

/// An agent reads the policies after its start. On a new node, pods serve at this time.
#[test]
fn the_node_of_an_agent_that_has_not_read_the_policies_refuses_nothing() {
    with_diagnostics(|| {
        deploy()?;
        strangers::create()?;
        succeed(&mut xtask(&["cluster", "network-policy"]))?;
        // As on a new node: without the rules, and with an agent that reads nothing.
        kubectl(&["delete", "clusterrolebinding", "kube-network-policies"])?;
        let flush = ["cluster", "exec", "--", "iptables", "--table=mangle", "--flush"];
        succeed(&mut xtask(&flush))?;
        let outcome = start_an_agent_without_permission();
        // Later tests need the agent, also after a failure.
        let restored = succeed(&mut xtask(&["cluster", "network-policy"])).map(drop);
        outcome.and(restored)?;
        eventually("the policies are enforced", || {
            ensure!(
                !connects("app-b", 5001)?,
                "app-b accepts connections of {STRANGER}"
            );
            Ok(())
        })
    });
}

fn start_an_agent_without_permission() -> Result<()> {
    let agent = "--selector=app.kubernetes.io/name=kube-network-policies";
    kubectl(&["-n", "kube-system", "delete", "pod", agent])?;
    let state = || -> Result<(bool, Value)> {
        let pods = kubectl(&["-n", "kube-system", "get", "pods", agent, "-o", "json"])?;
        let pods: Value = serde_json::from_str(&pods)?;
        let containers = &pods["items"][0]["status"]["initContainerStatuses"];
        Ok((containers[0]["started"] == true, containers[1]["state"].clone()))
    };
    eventually("the agent runs, and the container of the rules", || {
        let (started, rules) = state()?;
        ensure!(started && rules["waiting"].is_null(), "{started}, {rules}");
        Ok(())
    })?;
    ensure!(
        connects("app-a", 5000)?,
        "app-a refuses connections of {STRANGER}"
    );
    let (_, rules) = state()?;
    ensure!(rules["running"].is_object(), "the rules are installed: {rules}");
    Ok(())
}

/// Whether a pod outside of the pair's namespace can connect to a pod of `app`.
fn connects(app: &str, port: u16) -> Result<bool> {
    let pods = |namespace, name: &str| Pod::with_label(namespace, &format!("app.kubernetes.io/name={name}"));
    let app = pods("sample-app", app)?.into_iter().next().context("a pod")?;
    let stranger = pods(STRANGER, STRANGER)?.into_iter().next().context("a pod")?;
    let target = Target::Tcp(SocketAddrV4::new(app.address, port));
    stranger.network()?.run(|| target.is_open())
}
