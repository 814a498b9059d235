//! HPAs on External and Object metrics.

use wiring::{Link, diagnosis::LinkState};

use crate::fixture::{ADAPTER, SHOP, assert_link, assert_only_broken, diagnose, replaced};

const PODS: &str = "    - type: Pods\n      pods:\n        metric: {name: orders_per_second}\n";

fn external() -> String {
    replaced(
        SHOP,
        PODS,
        "    - type: External\n      external:\n        metric: {name: queue_length, selector: {matchLabels: {queue: orders}}}\n",
    )
}

#[test]
fn an_external_metric_of_another_program_is_checked_up_to_its_registration() {
    let registration = r"
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.external.metrics.k8s.io}
spec:
  group: external.metrics.k8s.io
  version: v1beta1
  insecureSkipTLSVerify: true
  service: {name: queue-metrics, namespace: queues}
---
apiVersion: v1
kind: Service
metadata: {name: queue-metrics, namespace: queues}
spec: {selector: {app: queue-metrics}, ports: [{port: 443, targetPort: 6443}]}
";
    let diagnosis = diagnose(&[&external(), ADAPTER, registration].concat(), None);
    assert_link(
        &diagnosis,
        Link::Hpa,
        LinkState::Ok,
        "on queue_length, 20 per pod",
    );
    assert_link(
        &diagnosis,
        Link::Apiservice,
        LinkState::Ok,
        "leads to Service queues/queue-metrics",
    );
    assert_link(
        &diagnosis,
        Link::Apiservice,
        LinkState::Ok,
        "insecureSkipTLSVerify",
    );
    assert_link(
        &diagnosis,
        Link::AdapterRule,
        LinkState::NotChecked,
        "not a metric of prometheus-adapter",
    );
}

#[test]
fn an_external_rule_of_the_adapter_is_checked() {
    let rules = replaced(ADAPTER, "    rules:\n", "    externalRules:\n");
    assert_link(
        &diagnose(&[&external(), &*rules].concat(), None),
        Link::AdapterRule,
        LinkState::Broken,
        "scales on queue_length; the rules offer",
    );
    let named = replaced(
        &rules,
        r#"{matches: "^(.*)_total$", as: "${1}_per_second"}"#,
        "{as: queue_length}",
    );
    assert_link(
        &diagnose(&[&external(), &*named].concat(), None),
        Link::AdapterRule,
        LinkState::Ok,
        "queue_length",
    );
}

#[test]
fn an_object_metric_needs_a_rule_and_not_the_pods() {
    let object = replaced(
        SHOP,
        PODS,
        "    - type: Object\n      object:\n        describedObject: {apiVersion: networking.k8s.io/v1, kind: Ingress, name: shop}\n        metric: {name: requests_per_second}\n",
    );
    let diagnosis = diagnose(&[&object, ADAPTER].concat(), None);
    assert!(diagnosis.is_healthy(), "{diagnosis:#?}");
    assert_link(
        &diagnosis,
        Link::AdapterRule,
        LinkState::Ok,
        "from requests_total",
    );
    let missing = replaced(&object, "requests_per_second", "requests");
    assert_only_broken(
        &diagnose(&[&missing, ADAPTER].concat(), None),
        Link::AdapterRule,
        "scales on requests; the rules offer",
    );
}
