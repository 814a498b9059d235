//! The check of the chain names each broken link.

use crate::{chain::binaries, chain_fixture::Chain, rendered::local};
use manifests::{chain, findings::list};
use serde_json::{Value, json};
use wiring::Link;

/// The fault, the mutation, the link to name, and a part of the reason.
type Case = (&'static str, fn(&mut Chain), Link, &'static str);

fn expect_named(cases: &[Case]) {
    for (_, text) in binaries() {
        for (fault, mutate, link, reason) in cases {
            let mut chain = Chain {
                text: text.clone(),
                objects: local(),
            };
            mutate(&mut chain);
            let broken = chain::check(&chain.text, &chain.objects);
            let named = broken
                .iter()
                .any(|found| found.link == *link && found.reason.contains(reason));
            assert!(
                named,
                "{fault}: expected {link}: … {reason} …, found:{}",
                list(&broken)
            );
        }
    }
}

const ADAPTER: &str = "prometheus-adapter";
const API_SERVICE: &str = "v1beta1.custom.metrics.k8s.io";

#[test]
fn faults_between_the_binary_and_the_rule_are_named() {
    expect_named(&[
        (
            "the counter is renamed in the binary",
            |chain| chain.in_binary("http_requests_total", "requests_total"),
            Link::ServiceMetric,
            "http_requests_total",
        ),
        (
            "the counter has no sample before the first request",
            |chain| chain.in_binary("\nhttp_requests_total{", "\n# http_requests_total{"),
            Link::ServiceMetric,
            "http_requests_total",
        ),
        (
            "the counter is renamed in the rule",
            |chain| chain.in_file(ADAPTER, "http_requests_total", "requests_total"),
            Link::ServiceMetric,
            "requests_total",
        ),
        (
            "the histogram is renamed in the binary",
            |chain| chain.in_binary("http_request_duration_seconds", "http_request_seconds"),
            Link::ServiceMetric,
            "http_request_duration_seconds_sum",
        ),
        (
            "a query reads a series that does not exist",
            |chain| {
                chain.in_file(
                    ADAPTER,
                    "rate(http_request_duration_seconds_count{",
                    "rate(http_requests_count{",
                );
            },
            Link::ServiceMetric,
            "http_requests_count",
        ),
    ]);
}

#[test]
fn faults_between_the_pods_and_prometheus_are_named() {
    expect_named(&[
        (
            "Prometheus discovers pods of another namespace",
            |chain| {
                let annotation = "/spec/template/metadata/annotations/scraped-namespace";
                chain.set("Deployment", "prometheus", annotation, json!("default"));
            },
            Link::PrometheusScrape,
            "discovers pods in [\"default\"]",
        ),
        (
            "Prometheus discovers pods of its own namespace",
            |chain| {
                let field = "/spec/template/spec/volumes/4/projected/sources/2/downwardAPI/items/0/fieldRef/fieldPath";
                chain.set("Deployment", "prometheus", field, json!("metadata.namespace"));
            },
            Link::PrometheusScrape,
            "discovers pods in [\"monitoring\"]",
        ),
        (
            "the automatic token replaces the volume with the scraped namespace",
            |chain| {
                let mount = "/spec/template/spec/containers/0/volumeMounts/5/mountPath";
                chain.set("Deployment", "prometheus", mount, json!("/token"));
            },
            Link::PrometheusScrape,
            "discovers pods in [\"monitoring\"]",
        ),
        (
            "Prometheus discovers pods of a listed namespace",
            |chain| chain.in_file("prometheus", "own_namespace: true", "names: [default]"),
            Link::PrometheusScrape,
            "discovers pods in [\"default\"]",
        ),
        (
            "both jobs store the series",
            |chain| chain.in_file("prometheus", "action: drop", "action: keep"),
            Link::PrometheusScrape,
            "counted twice",
        ),
        (
            "relabelling keeps another port name",
            |chain| chain.in_file("prometheus", "regex: admin", "regex: metrics"),
            Link::PrometheusScrape,
            "keep \"metrics\"",
        ),
        (
            "the Deployment renames the port",
            |chain| {
                let port = "/spec/template/spec/containers/0/ports/1/name";
                chain.set("Deployment", "app-b", port, json!("metrics"));
            },
            Link::PrometheusScrape,
            "app-b",
        ),
        (
            "relabelling keeps every port",
            |chain| chain.in_file("prometheus", "regex: admin", "regex: .*"),
            Link::PrometheusScrape,
            "4 times",
        ),
        (
            "relabelling keeps only completed pods",
            |chain| chain.in_file("prometheus", "regex: Running", "regex: Succeeded"),
            Link::PrometheusScrape,
            "Succeeded",
        ),
        (
            "no pods are discovered",
            |chain| chain.in_file("prometheus", "role: pod", "role: node"),
            Link::PrometheusScrape,
            "no job",
        ),
        (
            "the flag names another configuration file",
            |chain| chain.in_arguments("prometheus", "prometheus.yaml", "prometheus.yml"),
            Link::PrometheusScrape,
            "no file",
        ),
        (
            "the pod label has another name",
            |chain| chain.in_file("prometheus", "target_label: pod", "target_label: pod_name"),
            Link::AdapterRule,
            "reads the pod from the label pod",
        ),
        (
            "the namespace label is not added",
            |chain| chain.in_file("prometheus", "target_label: namespace", "target_label: ns"),
            Link::AdapterRule,
            "namespace",
        ),
    ]);
}

#[test]
fn faults_between_prometheus_and_the_adapter_are_named() {
    expect_named(&[
        (
            "the adapter queries another Service",
            |chain| chain.in_arguments(ADAPTER, "$(PROMETHEUS_SERVICE)", "prometheus.default"),
            Link::AdapterRule,
            "no Service default/prometheus",
        ),
        (
            "the variable names another Service",
            |chain| {
                let value = "/spec/template/spec/containers/0/env/0/value";
                chain.set("Deployment", ADAPTER, value, json!("team-prometheus"));
            },
            Link::AdapterRule,
            "no Service monitoring/team-prometheus",
        ),
        (
            "the variable does not exist",
            |chain| {
                chain.set(
                    "Deployment",
                    ADAPTER,
                    "/spec/template/spec/containers/0/env",
                    json!([]),
                );
            },
            Link::AdapterRule,
            "no Service monitoring/$(PROMETHEUS_SERVICE)",
        ),
        (
            "the adapter queries another port",
            |chain| chain.in_arguments(ADAPTER, ":9090", ":9091"),
            Link::AdapterRule,
            "no port 9091",
        ),
        (
            "max-age is below the relist interval",
            |chain| chain.in_arguments(ADAPTER, "max-age=1m", "max-age=5s"),
            Link::AdapterRule,
            "max-age",
        ),
        (
            "the window is too short for the scrape interval",
            |chain| chain.in_file("prometheus", "scrape_interval: 1s", "scrape_interval: 2s"),
            Link::PodSamples,
            "fewer than three scrapes",
        ),
        (
            "the query does not select the requested pods",
            |chain| chain.in_file(ADAPTER, "<<.Series>>{<<.LabelMatchers>>}", "<<.Series>>"),
            Link::PodSamples,
            "LabelMatchers",
        ),
        (
            "there are no rules",
            |chain| chain.in_file(ADAPTER, "rules:", "externalRules:"),
            Link::AdapterRule,
            "no rules",
        ),
    ]);
}

#[test]
fn faults_between_the_rule_and_the_autoscaler_are_named() {
    expect_named(&[
        (
            "the metric is renamed in the rule",
            |chain| chain.in_file(ADAPTER, "as: http_requests_per_second", "as: requests_per_second"),
            Link::AdapterRule,
            "the rules offer http_request_duration_seconds_average, http_request_duration_seconds_p99, requests_per_second",
        ),
        (
            "the name pattern does not match the series",
            |chain| chain.in_file(ADAPTER, "^http_requests_total$", "^(.*)_count$"),
            Link::AdapterRule,
            "does not match",
        ),
        (
            "the metric is renamed in the HPA",
            |chain| {
                let name = "/spec/metrics/0/pods/metric/name";
                chain.set(
                    "HorizontalPodAutoscaler",
                    "app-b",
                    name,
                    json!("requests_per_second"),
                );
            },
            Link::AdapterRule,
            "app-b scales on requests_per_second",
        ),
    ]);
}

#[test]
fn faults_between_the_api_server_and_the_adapter_are_named() {
    expect_named(&[
        (
            "the API server does not verify the certificate",
            |chain| {
                let api_service = chain.object("APIService", API_SERVICE);
                api_service["spec"]["insecureSkipTLSVerify"] = json!(true);
            },
            Link::Apiservice,
            "insecureSkipTLSVerify",
        ),
        (
            "the API is not registered",
            |chain| chain.remove("APIService", API_SERVICE),
            Link::Apiservice,
            "there is no APIService",
        ),
        (
            "the Service has another name than the certificate",
            |chain| {
                chain.set("APIService", API_SERVICE, "/spec/service/name", json!("adapter"));
                chain.set("Service", ADAPTER, "/metadata/name", json!("adapter"));
            },
            Link::Apiservice,
            "adapter.monitoring.svc, the certificate is for",
        ),
        (
            "the APIService names another Service",
            |chain| {
                chain.set(
                    "APIService",
                    API_SERVICE,
                    "/spec/service/namespace",
                    json!("default"),
                );
            },
            Link::Apiservice,
            "does not exist",
        ),
        (
            "the adapter listens on another port",
            |chain| chain.in_arguments(ADAPTER, "secure-port=6443", "secure-port=443"),
            Link::Apiservice,
            "listens on",
        ),
        (
            "the adapter reads another certificate",
            |chain| chain.in_arguments(ADAPTER, "serving-cert/tls.crt", "certificates/tls.crt"),
            Link::Apiservice,
            "--tls-cert-file",
        ),
        (
            "the key is written to a disk",
            |chain| {
                chain.set(
                    "Deployment",
                    ADAPTER,
                    "/spec/template/spec/volumes/1/emptyDir",
                    json!({}),
                );
            },
            Link::Apiservice,
            "disk",
        ),
        (
            "the adapter does not wait for the certificate",
            |chain| {
                let sidecar = "/spec/template/spec/initContainers/0/restartPolicy";
                chain.set("Deployment", ADAPTER, sidecar, Value::Null);
            },
            Link::Apiservice,
            "wait for the certificate",
        ),
    ]);
}

#[test]
fn missing_permissions_are_named() {
    expect_named(&[
        (
            "Prometheus may not watch pods",
            |chain| chain.set("Role", "prometheus", "/rules/0/verbs", json!(["get", "list"])),
            Link::PrometheusScrape,
            "monitoring/prometheus may not watch pods",
        ),
        (
            "the adapter may not list pods",
            |chain| chain.remove("RoleBinding", ADAPTER),
            Link::PodSamples,
            "monitoring/prometheus-adapter may not list pods",
        ),
        (
            "the HPA controller may not read the metrics",
            |chain| chain.remove("ClusterRoleBinding", "hpa-controller:custom-metrics"),
            Link::HpaActive,
            "horizontal-pod-autoscaler may not get",
        ),
        (
            "the sidecar may not patch the APIService",
            |chain| {
                let names = "/rules/0/resourceNames";
                chain.set(
                    "ClusterRole",
                    "serving-cert:prometheus-adapter",
                    names,
                    json!(["v1beta1.metrics.k8s.io"]),
                );
            },
            Link::Apiservice,
            "may not patch the APIService",
        ),
        (
            "the adapter may not read how the API server authenticates its clients",
            |chain| chain.remove("ClusterRoleBinding", "prometheus-adapter:auth-reader"),
            Link::Apiservice,
            "may not watch the ConfigMap extension-apiserver-authentication in kube-system",
        ),
    ]);
}
