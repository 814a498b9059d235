//! Installations with the Prometheus Operator.

use wiring::{Link, diagnosis::LinkState};

use crate::fixture::{ADAPTER, METRICS, SHOP, assert_link, assert_only_broken, diagnose, replaced};

const SERVICE: &str = r"
---
apiVersion: v1
kind: Service
metadata: {name: shop, labels: {app: shop}}
spec:
  selector: {app: shop}
  ports: [{name: web, port: 80, targetPort: 8080}]
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {name: shop, labels: {release: stack}}
spec:
  selector: {matchLabels: {app: shop}}
  endpoints: [{port: web, interval: 15s}]
";

const POD_MONITOR: &str = r"
---
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata: {name: shop, namespace: observability, labels: {release: stack}}
spec:
  namespaceSelector: {matchNames: [default]}
  selector: {matchExpressions: [{key: app, operator: In, values: [shop]}]}
  podMetricsEndpoints: [{portNumber: 8080}]
";

const PROMETHEUS: &str = r"
---
apiVersion: monitoring.coreos.com/v1
kind: Prometheus
metadata: {name: stack, namespace: observability}
spec:
  scrapeInterval: 30s
  serviceMonitorSelector: {matchLabels: {release: stack}}
  podMonitorSelector: {matchLabels: {release: stack}}
";

fn with(monitor: &str) -> String {
    [SHOP, monitor, PROMETHEUS, ADAPTER].concat()
}

#[test]
fn the_targets_of_monitors_hold() {
    let diagnosis = diagnose(&with(SERVICE), Some(METRICS));
    assert!(diagnosis.root_cause().is_none(), "{diagnosis:#?}");
    assert_link(
        &diagnosis,
        Link::PrometheusScrape,
        LinkState::Ok,
        "ServiceMonitor default/shop scrapes port 8080, /metrics every 15s",
    );
    let diagnosis = diagnose(&with(POD_MONITOR), Some(METRICS));
    assert_link(
        &diagnosis,
        Link::PrometheusScrape,
        LinkState::Ok,
        "PodMonitor observability/shop scrapes port 8080, /metrics every 30s",
    );
    // The operator adds the labels that the rule reads.
    assert_link(&diagnosis, Link::AdapterRule, LinkState::Ok, "orders_total");
}

#[test]
fn faults_of_monitors_are_named() {
    let cases = [
        (
            SERVICE,
            "labels: {release: stack}",
            "labels: {team: shop}",
            "is not selected by Prometheus observability/stack",
        ),
        (
            SERVICE,
            "endpoints: [{port: web",
            "endpoints: [{port: http",
            "asks for the port http, but the Service has only web",
        ),
        (
            SERVICE,
            "labels: {app: shop}}\nspec",
            "labels: {app: store}}\nspec",
            "selects no Service of the pods",
        ),
        (
            POD_MONITOR,
            "matchNames: [default]",
            "matchNames: [prod]",
            "looks in [\"prod\"], but Deployment default/shop is in default",
        ),
        (
            POD_MONITOR,
            "values: [shop]",
            "values: [store]",
            "does not select the labels of the pods",
        ),
        (
            POD_MONITOR,
            "portNumber: 8080",
            "port: metrics",
            "asks for the port metrics, but no container has a named port",
        ),
    ];
    for (monitor, from, to, says) in cases {
        let diagnosis = diagnose(&with(&replaced(monitor, from, to)), Some(METRICS));
        assert_only_broken(&diagnosis, Link::PrometheusScrape, says);
    }
}

#[test]
fn the_relabelling_of_the_samples_of_a_monitor_counts() {
    let drop = "metricRelabelings: [{sourceLabels: [__name__], regex: orders_.*, action: drop}]";
    for (monitor, endpoint) in [(SERVICE, "interval: 15s"), (POD_MONITOR, "portNumber: 8080")] {
        let dropped = replaced(monitor, endpoint, &format!("{endpoint}, {drop}"));
        assert_only_broken(
            &diagnose(&with(&dropped), Some(METRICS)),
            Link::ServiceMetric,
            "/shop: drop \"orders_.*\" of __name__ drops \"orders_total\"",
        );
    }
    assert_only_broken(
        &diagnose(&with(&[SERVICE, POD_MONITOR].concat()), Some(METRICS)),
        Link::PrometheusScrape,
        "counted twice: ServiceMonitor default/shop and PodMonitor observability/shop both store",
    );
}
