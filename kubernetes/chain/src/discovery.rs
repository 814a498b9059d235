//! The targets that Prometheus discovers in Kubernetes, before relabelling.
//!
//! <https://prometheus.io/docs/prometheus/latest/configuration/configuration/#kubernetes_sd_config>

use std::time::Duration;

use serde_json::Value;

use crate::{
    objects::{containers, has_labels, labels, list, name, namespace, of_kind, target_port, text},
    relabel::Labels,
};

const META: &str = "__meta_kubernetes";

/// The address of the pod in the discovered labels, from a range for documentation.
const ADDRESS: &str = "198.51.100.1";

/// A scrape target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The labels that Prometheus adds to every sample of the target.
    pub labels: Labels,
    /// The port of the scrape.
    pub port: u64,
    /// The path of the scrape.
    pub path: String,
    /// The job or monitor that scrapes the target.
    pub job: String,
    /// The scrape interval, if the manifests define it.
    pub interval: Option<Duration>,
    /// The relabelling rules of the samples, with the field names of Prometheus.
    pub(crate) metric_rules: Vec<Value>,
}

impl Target {
    /// Creates a target from the labels after relabelling.
    pub(crate) fn new(
        mut labels: Labels,
        job: &str,
        interval: Option<Duration>,
        metric_rules: Vec<Value>,
    ) -> Self {
        let address = labels.remove("__address__").unwrap_or_default();
        let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let default_port = if labels.get("__scheme__").is_some_and(|scheme| scheme == "https") {
            443
        } else {
            80
        };
        labels.entry("instance".to_owned()).or_insert(address);
        let path = labels.remove("__metrics_path__").unwrap_or_default();
        labels.retain(|label, value| !label.starts_with("__") && !value.is_empty());
        Self {
            labels,
            port: port.unwrap_or(default_port),
            path,
            job: job.to_owned(),
            interval,
            metric_rules,
        }
    }
}

/// Returns the labels of the role `pod`: one target for each declared port of a running pod, or one without a port.
pub(crate) fn pod_targets(workload: &Value, template: &Value) -> Vec<Labels> {
    let pod = pod_labels(workload, template);
    let ports = ports(template);
    if ports.is_empty() {
        let mut labels = pod;
        labels.insert("__address__".to_owned(), ADDRESS.to_owned());
        return vec![labels];
    }
    ports
        .into_iter()
        .map(|(container, port)| port_labels(pod.clone(), container, port))
        .collect()
}

/// Returns the labels of the roles `endpoints` and `endpointslice`: one target for each port of each Service that selects
/// the pods, and one for each other declared port.
pub(crate) fn endpoint_targets(objects: &[Value], workload: &Value, template: &Value) -> Vec<Labels> {
    let mut targets = Vec::new();
    for service in services(objects, workload, template) {
        let mut shared = pod_labels(workload, template);
        shared.insert(format!("{META}_service_name"), name(service).to_owned());
        insert_metadata(&mut shared, "service", service);
        for (kind, suffix) in [("endpoints", "name"), ("endpointslice", "name")] {
            shared.insert(format!("{META}_{kind}_{suffix}"), name(service).to_owned());
        }
        let bound: Vec<(u64, &str)> = list(service, "/spec/ports")
            .iter()
            .filter_map(|port| Some((target_port(template, port)?, text(port, "/name"))))
            .collect();
        for (number, port_name) in &bound {
            let declared = ports(template)
                .into_iter()
                .find(|(_, port)| port["containerPort"].as_u64() == Some(*number));
            let mut labels = match declared {
                Some((container, port)) => port_labels(shared.clone(), container, port),
                None => shared.clone(),
            };
            labels.insert("__address__".to_owned(), format!("{ADDRESS}:{number}"));
            for kind in ["endpoint", "endpointslice"] {
                labels.insert(format!("{META}_{kind}_port_name"), (*port_name).to_owned());
                labels.insert(format!("{META}_{kind}_ready"), "true".to_owned());
            }
            targets.push(labels);
        }
        let is_unbound = |port: &Value| {
            let number = port["containerPort"].as_u64();
            !bound.iter().any(|(bound, _)| Some(*bound) == number)
        };
        let unbound = ports(template).into_iter().filter(|(_, port)| is_unbound(port));
        targets.extend(unbound.map(|(container, port)| port_labels(shared.clone(), container, port)));
    }
    targets
}

/// Returns the Services that select the pods of a workload.
pub(crate) fn services<'objects>(
    objects: &'objects [Value],
    workload: &'objects Value,
    template: &'objects Value,
) -> impl Iterator<Item = &'objects Value> {
    of_kind(objects, "Service").filter(move |service| {
        let selector = labels(service, "/spec/selector");
        namespace(service) == namespace(workload) && !selector.is_empty() && has_labels(template, &selector)
    })
}

/// Returns each declared port with its container, also ports that are not TCP: Prometheus discovers them, too.
fn ports(template: &Value) -> Vec<(&Value, &Value)> {
    containers(template)
        .flat_map(|container| {
            list(container, "/ports")
                .iter()
                .map(move |port| (container, port))
        })
        .collect()
}

fn pod_labels(workload: &Value, template: &Value) -> Labels {
    let mut labels = Labels::from([
        (format!("{META}_namespace"), namespace(workload).to_owned()),
        (format!("{META}_pod_name"), format!("{}-0", name(workload))),
        (format!("{META}_pod_phase"), "Running".to_owned()),
        (format!("{META}_pod_ready"), "true".to_owned()),
        (format!("{META}_pod_ip"), ADDRESS.to_owned()),
    ]);
    insert_metadata(&mut labels, "pod", template);
    labels
}

fn port_labels(mut labels: Labels, container: &Value, port: &Value) -> Labels {
    let number = port["containerPort"].as_u64().unwrap_or_default();
    let protocol = match text(port, "/protocol") {
        "" => "TCP",
        protocol => protocol,
    };
    let of_port = [
        ("name", text(container, "/name").to_owned()),
        ("port_name", text(port, "/name").to_owned()),
        ("port_number", number.to_string()),
        ("port_protocol", protocol.to_owned()),
    ];
    labels.insert("__address__".to_owned(), format!("{ADDRESS}:{number}"));
    labels.extend(of_port.map(|(suffix, value)| (format!("{META}_pod_container_{suffix}"), value)));
    labels
}

/// Inserts the labels and annotations of an object.
fn insert_metadata(into: &mut Labels, role: &str, object: &Value) {
    for field in ["label", "annotation"] {
        for (key, value) in labels(object, &format!("/metadata/{field}s")) {
            let key = key.replace(|character: char| !character.is_ascii_alphanumeric(), "_");
            into.insert(format!("{META}_{role}_{field}_{key}"), value);
            into.insert(format!("{META}_{role}_{field}present_{key}"), "true".to_owned());
        }
    }
}
