//! Network policies that keep Prometheus from the pods, or the adapter from Prometheus.

use wiring::{Link, diagnosis::LinkState};

use crate::fixture::{METRICS, assert_link, assert_only_broken, complete, diagnose, replaced};

/// The pods of the shop accept connections to their port 8080 from Prometheus, in another namespace.
const SHOP: &str = "
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: shop}
spec:
  podSelector: {matchLabels: {app: shop}}
  ingress:
    - from:
        - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: observability}}
          podSelector: {matchExpressions: [{key: app, operator: In, values: [prometheus]}]}
      ports: [{port: 8080}]
";

/// Prometheus connects to the shop alone, and accepts connections from the adapter alone.
const PROMETHEUS: &str = "
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: prometheus, namespace: observability}
spec:
  podSelector: {matchLabels: {app: prometheus}}
  policyTypes: [Ingress, Egress]
  egress:
    - to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: default}}}]
      ports: [{port: 8000, endPort: 8999}]
  ingress:
    - from: [{podSelector: {matchLabels: {app: adapter}}}]
";

fn with_policies() -> String {
    [complete(), SHOP.to_owned(), PROMETHEUS.to_owned()].concat()
}

#[test]
fn policies_that_allow_the_chain_break_nothing() {
    let diagnosis = diagnose(&with_policies(), Some(METRICS));
    assert!(diagnosis.is_healthy(), "{diagnosis:#?}");
    let warnings: Vec<_> = diagnosis
        .links
        .iter()
        .flat_map(|report| &report.warnings)
        .collect();
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn a_policy_that_refuses_the_scrape_breaks_it() {
    for (fault, from, to, says) in [
        (
            "another port",
            "ports: [{port: 8080}]",
            "ports: [{port: 8081}]",
            "no ingress rule of NetworkPolicy default/shop lets the pods of Deployment observability/prometheus connect to port 8080",
        ),
        (
            "another protocol",
            "ports: [{port: 8080}]",
            "ports: [{port: 8080, protocol: UDP}]",
            "no ingress rule",
        ),
        (
            "another namespace",
            "kubernetes.io/metadata.name: observability",
            "kubernetes.io/metadata.name: monitoring",
            "no ingress rule",
        ),
        (
            "other pods",
            "values: [prometheus]",
            "values: [grafana]",
            "no ingress rule",
        ),
        (
            "the namespace of the policy",
            "namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: observability}}\n          podSelector",
            "podSelector",
            "no ingress rule",
        ),
        (
            "another range of ports",
            "endPort: 8999",
            "endPort: 8079",
            "no egress rule of NetworkPolicy observability/prometheus",
        ),
    ] {
        let diagnosis = diagnose(&replaced(&with_policies(), from, to), Some(METRICS));
        println!("{fault}");
        assert_only_broken(&diagnosis, Link::PrometheusScrape, says);
    }
}

#[test]
fn a_policy_that_refuses_the_queries_of_the_adapter_breaks_them() {
    let other = replaced(
        &with_policies(),
        "{podSelector: {matchLabels: {app: adapter}}}",
        "{podSelector: {matchLabels: {app: grafana}}}",
    );
    assert_only_broken(
        &diagnose(&other, Some(METRICS)),
        Link::AdapterRule,
        "no ingress rule of NetworkPolicy observability/prometheus lets the pods of Deployment observability/adapter connect to port 9090",
    );
}

#[test]
fn a_policy_by_address_is_a_warning() {
    let by_address = replaced(
        &with_policies(),
        "- from: [{podSelector: {matchLabels: {app: adapter}}}]",
        "- from: [{ipBlock: {cidr: 10.244.0.0/16}}]",
    );
    let diagnosis = diagnose(&by_address, Some(METRICS));
    assert!(diagnosis.is_healthy(), "{diagnosis:#?}");
    assert_link(
        &diagnosis,
        Link::AdapterRule,
        LinkState::Ok,
        "unless an ipBlock contains their addresses",
    );
}
