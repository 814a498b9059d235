//! An installation with discovery by annotations and a rule for every counter.

use wiring::{Link, diagnosis::LinkState};

use crate::fixture::{METRICS, assert_link, assert_only_broken, complete, diagnose, replaced};

#[test]
fn every_link_of_a_complete_installation_holds() {
    let diagnosis = diagnose(&complete(), Some(METRICS));
    for report in &diagnosis.links {
        assert_eq!(report.state, LinkState::Ok, "{diagnosis:#?}");
        assert_eq!(report.warnings, [""; 0], "{diagnosis:#?}");
    }
    assert_link(
        &diagnosis,
        Link::PrometheusScrape,
        LinkState::Ok,
        "job annotated-pods scrapes port 8080, /metrics every 20s",
    );
    assert_link(
        &diagnosis,
        Link::AdapterRule,
        LinkState::Ok,
        "makes orders_per_second from orders_total",
    );
}

/// Replaces a text of the complete installation, and expects one broken link: the link, both texts and a part of the reason.
fn expect_broken(cases: &[(Link, &str, &str, &str)]) {
    for (link, from, to, says) in cases {
        let diagnosis = diagnose(&replaced(&complete(), from, to), Some(METRICS));
        assert_only_broken(&diagnosis, *link, says);
    }
}

#[test]
fn faults_of_the_hpa_the_pods_and_their_scrape_are_named() {
    expect_broken(&[
        (
            Link::Hpa,
            "autoscaling/v2\n",
            "autoscaling/v2beta2\n",
            "Kubernetes 1.26 removed: use autoscaling/v2",
        ),
        (
            Link::Hpa,
            "averageValue: \"20\"",
            "value: \"20\"",
            "no averageValue",
        ),
        (
            Link::Hpa,
            "maxReplicas: 10",
            "maxReplicas: 1",
            "above maxReplicas",
        ),
        (
            Link::Pods,
            "kind: Deployment, name: shop}",
            "kind: Deployment, name: store}",
            "does not exist; the namespace has only shop",
        ),
        (
            Link::PrometheusScrape,
            "prometheus.io/scrape: \"true\"",
            "prometheus.io/scrape: \"no\"",
            "keep \"true\"",
        ),
        (
            Link::PrometheusScrape,
            "[{role: pod}]",
            "[{role: pod, namespaces: {names: [prod]}}]",
            "discovers pods in [\"prod\"]",
        ),
        (
            Link::PrometheusScrape,
            "=/etc/prometheus/prometheus.yml",
            "=/etc/prometheus/prometheus.yaml",
            "no file",
        ),
    ]);
}

#[test]
fn faults_of_the_adapter_and_its_permissions_are_named() {
    expect_broken(&[
        (
            Link::AdapterRule,
            "target_label: pod}",
            "target_label: pod_name}",
            "the pod from the label pod, which no series has",
        ),
        // `$1_per_second` is the group named `1_per_second`, so the name is empty.
        (
            Link::AdapterRule,
            "${1}_per_second",
            "$1_per_second",
            "refers to a group of this name: write ${1}_per_second",
        ),
        (
            Link::AdapterRule,
            "name: orders_per_second",
            "name: order_rate",
            "scales on order_rate; the rules offer orders_per_second",
        ),
        (Link::AdapterRule, "svc:9090", "svc:9091", "has no port 9091"),
        (
            Link::AdapterRule,
            "http://prometheus",
            "https://prometheus",
            "does not serve TLS",
        ),
        (
            Link::PodSamples,
            "[2m]",
            "[30s]",
            "fewer than three scrapes of 20s, and a rate needs two",
        ),
        (
            Link::PodSamples,
            "<<.LabelMatchers>>",
            "",
            "lacks <<.LabelMatchers>>",
        ),
        (
            Link::PodSamples,
            "resources: [pods, namespaces]",
            "resources: [namespaces]",
            "observability/adapter may not list pods",
        ),
        (
            Link::Apiservice,
            "targetPort: https",
            "targetPort: 8443",
            "targets the port 8443, the adapter listens on 6443",
        ),
        (
            Link::Apiservice,
            "metadata: {name: adapter-auth-reader, namespace: kube-system}",
            "metadata: {name: adapter-auth-reader, namespace: observability}",
            "may not watch the ConfigMap extension-apiserver-authentication in kube-system",
        ),
        (
            Link::HpaActive,
            "name: horizontal-pod-autoscaler",
            "name: hpa",
            "kube-system/horizontal-pod-autoscaler may not get",
        ),
    ]);
}

#[test]
fn a_series_that_the_pods_do_not_export_is_named() {
    let diagnosis = diagnose(&complete(), Some("# TYPE sales_total counter\nsales_total 0\n"));
    assert_only_broken(
        &diagnosis,
        Link::ServiceMetric,
        "the adapter needs orders_total, but the pods export sales_total",
    );
    let diagnosis = diagnose(&complete(), Some("<html>not found</html>\n"));
    assert_only_broken(&diagnosis, Link::ServiceMetric, "text format");
}

#[test]
fn a_registration_of_another_api_is_named() {
    let other = replaced(&complete(), "custom.metrics.k8s.io}", "metrics.k8s.io}");
    let other = replaced(&other, "group: custom.metrics.k8s.io", "group: metrics.k8s.io");
    assert_only_broken(
        &diagnose(&other, Some(METRICS)),
        Link::Apiservice,
        "no APIService v1beta1.custom.metrics.k8s.io for Deployment observability/adapter, only v1beta1.metrics.k8s.io",
    );
}

#[test]
fn the_newer_version_of_the_api_holds() {
    let newer = replaced(
        &complete(),
        "v1beta1.custom.metrics.k8s.io",
        "v1beta2.custom.metrics.k8s.io",
    );
    let newer = replaced(&newer, "version: v1beta1\n", "version: v1beta2\n");
    assert_link(
        &diagnose(&newer, Some(METRICS)),
        Link::Apiservice,
        LinkState::Ok,
        "v1beta2",
    );
}

#[test]
fn faults_that_break_nothing_are_warnings() {
    let cases = [
        (
            Link::Apiservice,
            "caBundle: LS0tLS1CRUdJTg==",
            "insecureSkipTLSVerify: true",
            "insecureSkipTLSVerify",
        ),
        (
            Link::PodSamples,
            "[2m]",
            "[50s]",
            "one failed scrape loses the value",
        ),
        (
            Link::PodSamples,
            "sum(rate(<<.Series>>{<<.LabelMatchers>>}[2m]))",
            "sum(<<.Series>>{<<.LabelMatchers>>})",
            "the value only grows",
        ),
    ];
    for (link, from, to, says) in cases {
        let diagnosis = diagnose(&replaced(&complete(), from, to), Some(METRICS));
        assert!(diagnosis.is_healthy(), "{diagnosis:#?}");
        assert_link(&diagnosis, link, LinkState::Ok, says);
    }
}

#[test]
fn a_pod_that_is_scraped_twice_is_a_warning() {
    let two_ports = replaced(
        &complete(),
        "ports: [{containerPort: 8080}]",
        "ports: [{containerPort: 8080}, {containerPort: 8081}]",
    );
    // The annotation leads both discovered ports to one target.
    let diagnosis = diagnose(&two_ports, Some(METRICS));
    assert_link(&diagnosis, Link::PrometheusScrape, LinkState::Ok, "port 8080");
    assert!(
        diagnosis.links.iter().all(|link| link.warnings.is_empty()),
        "{diagnosis:#?}"
    );
    let not_annotated = replaced(&two_ports, ", prometheus.io/port: \"8080\"", "");
    let diagnosis = diagnose(&not_annotated, Some(METRICS));
    assert_link(
        &diagnosis,
        Link::PrometheusScrape,
        LinkState::Ok,
        "2 times: port 8080",
    );
}

#[test]
fn removed_versions_of_other_objects_are_named() {
    for (link, version, removed) in [
        (
            Link::HpaActive,
            "rbac.authorization.k8s.io/v1\n",
            "rbac.authorization.k8s.io/v1beta1\n",
        ),
        (
            Link::Apiservice,
            "apiregistration.k8s.io/v1\n",
            "apiregistration.k8s.io/v1beta1\n",
        ),
    ] {
        let diagnosis = diagnose(&replaced(&complete(), version, removed), Some(METRICS));
        assert_only_broken(&diagnosis, link, "Kubernetes 1.22 removed");
    }
}

#[test]
fn the_later_of_two_objects_with_one_name_counts() {
    let config = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: adapter, namespace: observability}\ndata: {config.yaml: 'rules: []'}\n";
    assert_only_broken(
        &diagnose(&(complete() + config), Some(METRICS)),
        Link::AdapterRule,
        "the adapter has no rules for orders_per_second",
    );
}

#[test]
fn a_namespace_of_an_object_without_one_is_ignored() {
    let scoped = replaced(
        &complete(),
        "metadata: {name: adapter-delegator}",
        "metadata: {name: adapter-delegator, namespace: observability}",
    );
    assert!(diagnose(&scoped, Some(METRICS)).root_cause().is_none());
}

#[test]
fn a_binding_to_a_role_that_is_not_there_is_explained() {
    let unbound = replaced(
        &complete(),
        "metadata: {name: custom-metrics-reader}",
        "metadata: {name: reader}",
    );
    assert_only_broken(
        &diagnose(&unbound, Some(METRICS)),
        Link::HpaActive,
        "it is bound to custom-metrics-reader, which is not among the manifests",
    );
}

#[test]
fn every_series_that_a_metric_can_come_from_is_named() {
    let counts = r#"    rules:
      - seriesQuery: '{pod!=""}'
        resources: {template: <<.Resource>>}
        name: {matches: "^(.*)_count$", as: "${1}_per_second"}
        metricsQuery: sum(rate(<<.Series>>{<<.LabelMatchers>>}[2m])) by (<<.GroupBy>>)
"#;
    let rules = replaced(&complete(), "    rules:\n", counts);
    assert_link(
        &diagnose(&rules, None),
        Link::ServiceMetric,
        LinkState::NotChecked,
        "they must export orders_count or orders_total",
    );
    assert_link(
        &diagnose(&rules, Some("orders_count 0\n")),
        Link::ServiceMetric,
        LinkState::Ok,
        "the pods export orders_count",
    );
}

#[test]
fn without_a_page_a_rule_for_other_labels_is_not_considered() {
    let of_containers = r#"    rules:
      - seriesQuery: '{__name__=~"^container_.*",pod_name!=""}'
        resources: {overrides: {namespace: {resource: namespace}, pod_name: {resource: pod}}}
        name: {matches: "^container_(.*)$", as: "$1"}
        metricsQuery: sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)
"#;
    let diagnosis = diagnose(&replaced(&complete(), "    rules:\n", of_containers), None);
    assert_link(
        &diagnosis,
        Link::ServiceMetric,
        LinkState::NotChecked,
        "they must export orders_total",
    );
    assert!(
        diagnosis.links.iter().all(|link| link.warnings.is_empty()),
        "{diagnosis:#?}"
    );
}
