//! The network policies of every overlay: exactly the connections of docs/network.md are possible between the pods.

use crate::rendered::{Overlay, all_overlays};
use chain_check::policies::Port;
use manifests::objects::{containers, find, list, named_ports, namespace, of_kind, selected, text};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The connections between the pods: source, destination, port.
const ALLOWED: [(&str, &str, u64); 6] = [
    ("app-a", "app-b", 5001),
    ("prometheus", "app-a", 9000),
    ("prometheus", "app-b", 9000),
    ("prometheus", "karpenter", 8080),
    ("prometheus", "prometheus-adapter", 9000),
    ("prometheus-adapter", "prometheus", 9090),
];

/// A pod of another namespace.
fn pod(namespace: &str, label: (&str, &str)) -> Value {
    json!({
        "kind": "Pod",
        "metadata": {"name": "pod", "namespace": namespace, "labels": {(label.0): label.1}},
    })
}

/// The Deployments of an overlay, by the label that no overlay changes. Not those in the namespace of the cluster itself, which no policy
/// isolates.
fn deployments(overlay: &Overlay) -> BTreeMap<&str, &Value> {
    of_kind(&overlay.objects, "Deployment")
        .filter(|deployment| namespace(deployment) != "kube-system")
        .map(|deployment| {
            let label = "/spec/template/metadata/labels/app.kubernetes.io~1name";
            (text(deployment, label), deployment)
        })
        .collect()
}

fn ports(deployment: &Value) -> impl Iterator<Item = u64> {
    containers(&deployment["spec"]["template"])
        .flat_map(named_ports)
        .map(|(_, port)| port)
}

/// Whether the policies allow a connection. No address of a pod is one of the API server.
fn is_allowed(overlay: &Overlay, from: &Value, of: &Value, number: u64) -> bool {
    let port = Port { of, number };
    port.refuses(&overlay.objects, from, |_| false).is_none()
}

#[test]
fn exactly_the_documented_connections_are_possible_between_the_pods() {
    for overlay in all_overlays() {
        let deployments = deployments(overlay);
        let mut allowed = BTreeSet::new();
        for (from, source) in &deployments {
            for (to, destination) in &deployments {
                for port in ports(destination) {
                    if is_allowed(overlay, source, destination, port) {
                        allowed.insert((*from, *to, port));
                    }
                }
            }
        }
        let mut expected = BTreeSet::from(ALLOWED);
        expected.retain(|(_, to, _)| deployments.contains_key(to));
        assert_eq!(allowed, expected, "overlay {}", overlay.name);
    }
}

#[test]
fn a_pod_of_another_namespace_reaches_the_public_ports_alone() {
    let stranger = pod("elsewhere", ("app.kubernetes.io/name", "app-a"));
    for overlay in all_overlays() {
        let mut allowed = BTreeSet::new();
        for (to, destination) in deployments(overlay) {
            for port in ports(destination) {
                if is_allowed(overlay, &stranger, destination, port) {
                    allowed.insert((to, port));
                }
                assert!(
                    !is_allowed(overlay, destination, &stranger, port),
                    "overlay {}: {to} may connect to another namespace",
                    overlay.name
                );
            }
        }
        let mut public = BTreeSet::from([("app-a", 5000), ("app-a", 5443)]);
        // On EKS the load balancer terminates TLS.
        public.retain(|(to, port)| ports(deployments(overlay)[to]).any(|of_pod| of_pod == *port));
        assert_eq!(allowed, public, "overlay {}", overlay.name);
    }
}

#[test]
fn every_pod_but_karpenter_resolves_names_and_none_connects_to_anything_else_of_kube_system() {
    let (dns, other) = (
        pod("kube-system", ("k8s-app", "kube-dns")),
        pod("kube-system", ("k8s-app", "metrics-server")),
    );
    for overlay in all_overlays() {
        for (from, deployment) in deployments(overlay) {
            let reaches = |to, port| is_allowed(overlay, deployment, to, port);
            let open = (reaches(&dns, 53), reaches(&dns, 9153), reaches(&other, 53));
            // Karpenter knows the API server by its address.
            let resolves = from != "karpenter";
            assert_eq!(open, (resolves, false, false), "overlay {}: {from}", overlay.name);
        }
    }
}

#[test]
fn every_policy_selects_pods_and_names_a_port_of_them() {
    for overlay in all_overlays() {
        for policy in of_kind(&overlay.objects, "NetworkPolicy") {
            let of = namespace(policy);
            assert!(
                find(&overlay.objects, "Namespace", "", of).is_some(),
                "overlay {}: no namespace {of}",
                overlay.name
            );
            let labels = manifests::objects::labels(policy, "/spec/podSelector/matchLabels");
            if labels.is_empty() {
                continue;
            }
            let selected: Vec<_> = selected(&overlay.objects, of, &labels).collect();
            assert_eq!(selected.len(), 1, "overlay {}: {policy}", overlay.name);
            for rule in list(policy, "/spec/ingress") {
                for port in list(rule, "/ports") {
                    let found = manifests::objects::resolve_port(selected[0].1, &port["port"]);
                    assert!(found.is_some(), "overlay {}: {port} of {policy}", overlay.name);
                }
            }
        }
    }
}
