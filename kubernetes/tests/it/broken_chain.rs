//! Each link of the chain, broken: the check has to notice, and to name that link.

use crate::{breaking_chain::Chain, chain::binaries, rendered::local};
use manifests::{
    chain::{self, Link},
    findings::list,
};
use serde_json::{Value, json};

/// What is done to the chain, the link that has to be named, and a part of the reason.
type Case = (&'static str, fn(&mut Chain), Link, &'static str);

fn expect_each_is_named(cases: &[Case]) {
    for (_, text) in binaries() {
        for (what, break_it, link, said) in cases {
            let mut chain = Chain {
                text: text.clone(),
                objects: local(),
            };
            break_it(&mut chain);
            let broken = chain::check(&chain.text, &chain.objects);
            let named = broken
                .iter()
                .any(|found| found.link == *link && found.reason.contains(said));
            assert!(
                named,
                "{what}: expected {link}: … {said} …, found:{}",
                list(&broken)
            );
        }
    }
}

const ADAPTER: &str = "prometheus-adapter";
const API_SERVICE: &str = "v1beta1.custom.metrics.k8s.io";

#[test]
fn from_the_binary_to_the_rule() {
    expect_each_is_named(&[
        (
            "the counter is renamed in the binary",
            |chain| chain.in_binary("http_requests_total", "requests_total"),
            Link::Exported,
            "http_requests_total",
        ),
        (
            "the counter has no sample before the first request",
            |chain| chain.in_binary("\nhttp_requests_total{", "\n# http_requests_total{"),
            Link::Exported,
            "http_requests_total",
        ),
        (
            "the counter is renamed in the rule",
            |chain| chain.in_file(ADAPTER, "http_requests_total", "requests_total"),
            Link::Exported,
            "requests_total",
        ),
        (
            "the histogram is renamed in the binary",
            |chain| chain.in_binary("http_request_duration_seconds", "http_request_seconds"),
            Link::Exported,
            "http_request_duration_seconds_sum",
        ),
        (
            "a query names a series that is not there",
            |chain| {
                chain.in_file(
                    ADAPTER,
                    "rate(http_request_duration_seconds_count{",
                    "rate(http_requests_count{",
                );
            },
            Link::Exported,
            "http_requests_count",
        ),
    ]);
}

#[test]
fn from_the_pods_to_prometheus() {
    expect_each_is_named(&[
        (
            "another namespace is scraped",
            |chain| chain.in_file("prometheus", "names: [sample-app]", "names: [default]"),
            Link::Scraped,
            "looks in [\"default\"]",
        ),
        (
            "another port name is kept",
            |chain| chain.in_file("prometheus", "regex: admin", "regex: metrics"),
            Link::Scraped,
            "keep \"metrics\"",
        ),
        (
            "the port is renamed in the Deployment",
            |chain| {
                let port = "/spec/template/spec/containers/0/ports/1/name";
                chain.set("Deployment", "app-b", port, json!("metrics"));
            },
            Link::Scraped,
            "app-b",
        ),
        (
            "every port is kept",
            |chain| chain.in_file("prometheus", "regex: admin", "regex: .*"),
            Link::Scraped,
            "2 times",
        ),
        (
            "only pods that have ended are kept",
            |chain| chain.in_file("prometheus", "regex: Running", "regex: Succeeded"),
            Link::Scraped,
            "Succeeded",
        ),
        (
            "nothing is discovered",
            |chain| chain.in_file("prometheus", "role: pod", "role: node"),
            Link::Scraped,
            "no job",
        ),
        (
            "the configuration is another file",
            |chain| chain.in_arguments("prometheus", "prometheus.yaml", "prometheus.yml"),
            Link::Scraped,
            "no file",
        ),
        (
            "the pod label is called otherwise",
            |chain| chain.in_file("prometheus", "target_label: pod", "target_label: pod_name"),
            Link::Labelled,
            "the pod from the label pod",
        ),
        (
            "the namespace label is not added",
            |chain| chain.in_file("prometheus", "target_label: namespace", "target_label: ns"),
            Link::Labelled,
            "namespace",
        ),
    ]);
}

#[test]
fn from_the_adapter_to_prometheus() {
    expect_each_is_named(&[
        (
            "the adapter asks another Service",
            |chain| chain.in_arguments(ADAPTER, "prometheus.monitoring", "prometheus.default"),
            Link::Queried,
            "no Service default/prometheus",
        ),
        (
            "the adapter asks another port",
            |chain| chain.in_arguments(ADAPTER, ":9090", ":9091"),
            Link::Queried,
            "no port 9091",
        ),
        (
            "max-age is below the relist interval",
            |chain| chain.in_arguments(ADAPTER, "max-age=1m", "max-age=5s"),
            Link::Queried,
            "max-age",
        ),
        (
            "the window is too short for the scrape interval",
            |chain| chain.in_file("prometheus", "scrape_interval: 5s", "scrape_interval: 10s"),
            Link::Queried,
            "fewer than three scrapes",
        ),
        (
            "the query is not limited to the pods that are asked for",
            |chain| chain.in_file(ADAPTER, "<<.Series>>{<<.LabelMatchers>>}", "<<.Series>>"),
            Link::Queried,
            "LabelMatchers",
        ),
        (
            "there are no rules",
            |chain| chain.in_file(ADAPTER, "rules:", "externalRules:"),
            Link::Queried,
            "no rules",
        ),
    ]);
}

#[test]
fn from_the_rule_to_the_autoscaler() {
    expect_each_is_named(&[
        (
            "the metric is renamed in the rule",
            |chain| chain.in_file(ADAPTER, "as: http_requests_per_second", "as: requests_per_second"),
            Link::Named,
            "the rules yield http_request_duration_seconds_average, http_request_duration_seconds_p99, requests_per_second",
        ),
        (
            "the name pattern does not match the series",
            |chain| chain.in_file(ADAPTER, "^http_requests_total$", "^(.*)_count$"),
            Link::Named,
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
            Link::Named,
            "app-b asks for requests_per_second",
        ),
    ]);
}

#[test]
fn from_the_api_server_to_the_adapter() {
    expect_each_is_named(&[
        (
            "TLS is not verified",
            |chain| {
                let api_service = chain.object("APIService", API_SERVICE);
                api_service["spec"]["insecureSkipTLSVerify"] = json!(true);
            },
            Link::Trusted,
            "insecureSkipTLSVerify",
        ),
        (
            "the API is not registered",
            |chain| chain.remove("APIService", API_SERVICE),
            Link::Trusted,
            "there is no APIService",
        ),
        (
            "the Service is named otherwise than the certificate",
            |chain| {
                chain.set("APIService", API_SERVICE, "/spec/service/name", json!("adapter"));
                chain.set("Service", ADAPTER, "/metadata/name", json!("adapter"));
            },
            Link::Trusted,
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
            Link::Trusted,
            "does not exist",
        ),
        (
            "the adapter listens elsewhere",
            |chain| chain.in_arguments(ADAPTER, "secure-port=6443", "secure-port=443"),
            Link::Trusted,
            "listens on",
        ),
        (
            "the adapter reads another certificate",
            |chain| chain.in_arguments(ADAPTER, "serving-cert/tls.crt", "certificates/tls.crt"),
            Link::Trusted,
            "--tls-cert-file",
        ),
        (
            "the key is kept on a disk",
            |chain| {
                chain.set(
                    "Deployment",
                    ADAPTER,
                    "/spec/template/spec/volumes/1/emptyDir",
                    json!({}),
                );
            },
            Link::Trusted,
            "disk",
        ),
        (
            "the adapter does not wait for the certificate",
            |chain| {
                let sidecar = "/spec/template/spec/initContainers/0/restartPolicy";
                chain.set("Deployment", ADAPTER, sidecar, Value::Null);
            },
            Link::Trusted,
            "wait for the certificate",
        ),
    ]);
}

#[test]
fn what_everybody_is_allowed() {
    expect_each_is_named(&[
        (
            "Prometheus may not watch pods",
            |chain| chain.set("Role", "prometheus", "/rules/0/verbs", json!(["get", "list"])),
            Link::Permitted,
            "monitoring/prometheus may not watch pods",
        ),
        (
            "the adapter may not list pods",
            |chain| chain.remove("RoleBinding", ADAPTER),
            Link::Permitted,
            "monitoring/prometheus-adapter may not list pods",
        ),
        (
            "the HPA controller may not read the metrics",
            |chain| chain.remove("ClusterRoleBinding", "hpa-controller:custom-metrics"),
            Link::Permitted,
            "horizontal-pod-autoscaler may not get",
        ),
        (
            "the sidecar may not publish",
            |chain| {
                let names = "/rules/0/resourceNames";
                chain.set(
                    "ClusterRole",
                    "serving-cert:prometheus-adapter",
                    names,
                    json!(["v1beta1.metrics.k8s.io"]),
                );
            },
            Link::Permitted,
            "may not patch the APIService",
        ),
        (
            "the RoleBinding that has to be in kube-system is moved by kustomize's namespace",
            |chain| {
                let binding = "prometheus-adapter:auth-reader";
                chain.set("RoleBinding", binding, "/metadata/namespace", json!("monitoring"));
            },
            Link::Permitted,
            "extension-apiserver-authentication-reader",
        ),
    ]);
}
