//! The nodes have the zones, labels and capacity of the request.

use anyhow::{Context as _, Result, ensure};
use e2e::{apply, eventually, kubectl, output, text, with_diagnostics, xtask};
use serde_json::{Value, json};
use testbed::{kubeadm, versions};

use super::{NODES, items, ready, start};

/// The type and zone of each node of [`NODES`].
const PLACES: [(&str, &str); 4] = [
    ("machine", "testbed-a"),
    ("small", "testbed-b"),
    ("small", "testbed-c"),
    ("small", "testbed-a"),
];

#[test]
fn four_nodes_are_ready_in_three_zones_with_the_capacity_of_their_type() {
    with_diagnostics(|| {
        start()?;
        let nodes = items(&["nodes"])?;
        ensure!(nodes.len() == NODES.len(), "{} nodes", nodes.len());
        for (name, (instance_type, zone)) in NODES.into_iter().zip(PLACES) {
            let node = nodes.iter().find(|node| node["metadata"]["name"] == name);
            let node = node.with_context(|| format!("no node {name}"))?;
            ensure!(ready(node) == Some("True"), "{name} is not Ready");
            check_place(node, name, instance_type, zone)?;
            if instance_type == "small" {
                let allocatable = &node["status"]["allocatable"];
                let small = json!({ "cpu": "300m", "memory": "512Mi", "pods": "20" });
                for resource in ["cpu", "memory", "pods"] {
                    ensure!(
                        allocatable[resource] == small[resource],
                        "{name} offers {allocatable}"
                    );
                }
            }
        }
        Ok(())
    });
}

fn check_place(node: &Value, name: &str, instance_type: &str, zone: &str) -> Result<()> {
    let labels = &node["metadata"]["labels"];
    for (label, value) in [
        ("topology.kubernetes.io/region", "testbed"),
        ("topology.kubernetes.io/zone", zone),
        ("node.kubernetes.io/instance-type", instance_type),
    ] {
        ensure!(labels[label] == value, "{name} has the labels {labels}");
    }
    let provider_id = &node["spec"]["providerID"];
    ensure!(
        *provider_id == format!("testbed://{zone}/{name}"),
        "{name} has the provider ID {provider_id}"
    );
    Ok(())
}

#[test]
fn a_pod_that_no_node_has_room_for_is_pending_until_a_larger_node_joins() {
    with_diagnostics(|| {
        start()?;
        let _ = output(&mut xtask(&["cluster", "node", "remove", "larger"]))?;
        // Only added nodes have a type other than `machine`. 500m is more than a small one offers.
        apply(
            &r#"
apiVersion: v1
kind: Pod
metadata: {name: large, namespace: default}
spec:
  terminationGracePeriodSeconds: 0
  affinity:
    nodeAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        nodeSelectorTerms:
        - matchExpressions: [{key: node.kubernetes.io/instance-type, operator: NotIn, values: [machine]}]
  tolerations: [{key: team, operator: Equal, value: load}]
  nodeSelector: {size: big}
  containers:
  - {name: pause, image: "registry.k8s.io/pause:PAUSE", resources: {requests: {cpu: 500m}}}
"#
            .replace("PAUSE", versions::PAUSE),
        )?;
        eventually("the scheduler finds no node", || {
            let conditions = kubectl(&["get", "pod", "large", "-o", "jsonpath={.status.conditions}"])?;
            ensure!(conditions.contains("Unschedulable"), "{conditions}");
            Ok(())
        })?;
        let add = [
            "cluster",
            "node",
            "add",
            "larger",
            "--zone=testbed-c",
            "--type=medium",
            "--label=size=big",
            "--taint=team=load:NoSchedule",
        ];
        e2e::succeed(&mut xtask(&add))?;
        eventually("the pod runs on the larger node", || {
            let format = "jsonpath={.spec.nodeName} {.status.phase}";
            let pod = kubectl(&["get", "pod", "large", "-o", format])?;
            ensure!(pod == "larger Running", "{pod}");
            Ok(())
        })?;
        let taken = output(&mut xtask(&add))?;
        ensure!(
            !taken.status.success() && text(&taken).contains("exists"),
            "{}",
            text(&taken)
        );
        kubectl(&["delete", "pod", "large"])?;
        let status = e2e::succeed(&mut xtask(&["cluster", "status"]))?;
        let listed = status.lines().find(|line| line.starts_with("node/larger "));
        let listed = listed.with_context(|| format!("no node/larger in {status}"))?;
        ensure!(
            listed.contains("testbed-c") && listed.contains("medium"),
            "{listed}"
        );
        e2e::succeed(&mut xtask(&["cluster", "node", "remove", "larger"])).map(drop)
    });
}

#[test]
fn a_command_that_does_not_fit_the_running_cluster_is_refused_and_changes_nothing() {
    with_diagnostics(|| {
        start()?;
        let add_first = [
            "cluster",
            "node",
            "add",
            kubeadm::NODE_NAME,
            "--zone=testbed-a",
            "--type=small",
        ];
        let remove_first = ["cluster", "node", "remove", kubeadm::NODE_NAME];
        for (arguments, expected) in [
            (&["cluster", "up", "--control-plane-cpu=1m"][..], "cluster down"),
            (&["cluster", "up", "--control-plane-cpu=1000"], "the machine has"),
            (&["cluster", "up", "--nodes=4", "--type=medium"], "node remove"),
            (&add_first, "first node"),
            (&remove_first, "first node"),
        ] {
            let refused = output(&mut xtask(arguments))?;
            ensure!(
                !refused.status.success() && text(&refused).contains(expected),
                "{arguments:?}: {}",
                text(&refused)
            );
        }
        kubectl(&["get", "node", kubeadm::NODE_NAME]).map(drop)
    });
}
