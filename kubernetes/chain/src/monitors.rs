//! `PodMonitor` and `ServiceMonitor`: the targets that the Prometheus Operator generates from them.
//!
//! <https://prometheus-operator.dev/docs/api-reference/api/>

use std::time::Duration;

use serde_json::{Map, Value};

use crate::{
    discovery::{Target, endpoint_targets, pod_targets, services},
    objects::{
        kind, labels, list, matches_selector, name, namespace, of_kind, resolve_port, target_port, text,
        title,
    },
    relabel::{Labels, Relabelling},
};

/// The default of the operator.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);

/// Returns all monitors.
pub(crate) fn monitors(objects: &[Value]) -> impl Iterator<Item = &Value> {
    objects
        .iter()
        .filter(|object| matches!(kind(object), "PodMonitor" | "ServiceMonitor"))
}

/// Returns the targets of one running pod of the workload, and for each other monitor the reason why it has no target.
pub(crate) fn targets(objects: &[Value], workload: &Value, template: &Value) -> (Vec<Target>, Vec<String>) {
    let (mut found, mut reasons) = (Vec::new(), Vec::new());
    for monitor in monitors(objects) {
        match targets_of(objects, monitor, workload, template) {
            Ok(targets) => found.extend(targets),
            Err(reason) => reasons.push(format!("{} {reason}", title(monitor))),
        }
    }
    (found, reasons)
}

fn targets_of(
    objects: &[Value],
    monitor: &Value,
    workload: &Value,
    template: &Value,
) -> Result<Vec<Target>, String> {
    let interval = check_selected(objects, monitor)?;
    check_namespace(monitor, workload)?;
    let (endpoints, discovered) = if kind(monitor) == "PodMonitor" {
        let pod = labels(template, "/metadata/labels");
        if !matches_selector(monitor, "/spec/selector", &pod) {
            return Err(format!(
                "does not select the labels of the pods of {}",
                title(workload)
            ));
        }
        ("/spec/podMetricsEndpoints", pod_targets(workload, template))
    } else {
        let selected = services(objects, workload, template).filter(|service| {
            matches_selector(monitor, "/spec/selector", &labels(service, "/metadata/labels"))
        });
        let selected: Vec<Value> = selected.cloned().collect();
        if selected.is_empty() {
            return Err(format!("selects no Service of the pods of {}", title(workload)));
        }
        ("/spec/endpoints", endpoint_targets(&selected, workload, template))
    };
    let mut targets = Vec::new();
    let mut wanted = Vec::new();
    for endpoint in list(monitor, endpoints) {
        let port = text(endpoint, "/port");
        wanted.push(port.to_owned());
        let of_endpoint = humantime::parse_duration(text(endpoint, "/interval")).ok();
        let relabelling = Relabelling::parse(&snake_case_rules(endpoint, "/relabelings"))?;
        let metric_rules = snake_case_rules(endpoint, "/metricRelabelings");
        let is_wanted = |labels: &&Labels| is_port(endpoint, labels, template, kind(monitor) == "PodMonitor");
        for labels in discovered.iter().filter(is_wanted) {
            let labels = with_labels(monitor, endpoint, labels.clone(), workload);
            targets.push(Target::new(
                relabelling.apply(labels)?,
                &title(monitor),
                of_endpoint.or(interval),
                metric_rules.clone(),
            ));
        }
    }
    if targets.is_empty() {
        let available = available_ports(objects, monitor, workload, template);
        return Err(format!(
            "asks for the port {}, but {available}",
            wanted.join(", ")
        ));
    }
    Ok(targets)
}

/// Checks that a `Prometheus` object selects the monitor, if there is one. Returns its scrape interval.
fn check_selected(objects: &[Value], monitor: &Value) -> Result<Option<Duration>, String> {
    let field = if kind(monitor) == "PodMonitor" {
        "podMonitorSelector"
    } else {
        "serviceMonitorSelector"
    };
    let own = labels(monitor, "/metadata/labels");
    let mut rejected = None;
    for prometheus in of_kind(objects, "Prometheus") {
        let selector = format!("/spec/{field}");
        // Without the field, a Prometheus selects no monitors.
        if prometheus.pointer(&selector).is_some() && matches_selector(prometheus, &selector, &own) {
            let interval = humantime::parse_duration(text(prometheus, "/spec/scrapeInterval"));
            return Ok(Some(interval.unwrap_or(DEFAULT_INTERVAL)));
        }
        let wanted = prometheus.pointer(&selector).unwrap_or(&Value::Null);
        rejected = Some(format!(
            "is not selected by {}, whose {field} is {wanted}",
            title(prometheus)
        ));
    }
    rejected.map_or(Ok(None), Err)
}

fn check_namespace(monitor: &Value, workload: &Value) -> Result<(), String> {
    let any = monitor.pointer("/spec/namespaceSelector/any") == Some(&Value::Bool(true));
    let names = list(monitor, "/spec/namespaceSelector/matchNames");
    let own = namespace(monitor) == namespace(workload);
    if any || names.iter().any(|name| name == namespace(workload)) || (names.is_empty() && own) {
        return Ok(());
    }
    Err(format!(
        "looks in {}, but {} is in {}",
        if names.is_empty() {
            format!("its own namespace {}", namespace(monitor))
        } else {
            Value::from(names).to_string()
        },
        title(workload),
        namespace(workload)
    ))
}

/// Whether the endpoint of a monitor keeps a discovered port. `port` is the name of a port of the pod or of the Service.
fn is_port(endpoint: &Value, labels: &Labels, template: &Value, is_pod_monitor: bool) -> bool {
    let label = |name: &str| labels.get(name).map_or("", String::as_str);
    let address_port = label("__address__").rsplit_once(':').map_or("", |(_, port)| port);
    if let Some(target) = endpoint.get("targetPort").or_else(|| endpoint.get("portNumber")) {
        let number = target.as_u64().or_else(|| resolve_port(template, target));
        return number.is_some_and(|number| number.to_string() == address_port);
    }
    let named = if is_pod_monitor {
        label("__meta_kubernetes_pod_container_port_name")
    } else {
        label("__meta_kubernetes_endpoint_port_name")
    };
    let port = text(endpoint, "/port");
    if port.is_empty() { true } else { named == port }
}

fn available_ports(objects: &[Value], monitor: &Value, workload: &Value, template: &Value) -> String {
    let (what, names): (_, Vec<String>) = if kind(monitor) == "PodMonitor" {
        let ports = crate::objects::containers(template).flat_map(crate::objects::named_ports);
        ("container", ports.map(|(name, _)| name.to_owned()).collect())
    } else {
        let ports = services(objects, workload, template).flat_map(|service| list(service, "/spec/ports"));
        let of_service = ports.filter(|port| target_port(template, port).is_some());
        (
            "Service",
            of_service.map(|port| text(port, "/name").to_owned()).collect(),
        )
    };
    if names.is_empty() {
        format!("no {what} has a named port")
    } else {
        format!("the {what} has only {}", names.join(", "))
    }
}

/// Adds the labels that the operator adds to every target.
fn with_labels(monitor: &Value, endpoint: &Value, mut labels: Labels, workload: &Value) -> Labels {
    let path = match text(endpoint, "/path") {
        "" => "/metrics",
        path => path,
    };
    let meta = |name: &str| {
        labels
            .get(&format!("__meta_kubernetes_{name}"))
            .cloned()
            .unwrap_or_default()
    };
    let added = [
        ("__metrics_path__", path.to_owned()),
        ("namespace", namespace(workload).to_owned()),
        ("pod", meta("pod_name")),
        ("container", meta("pod_container_name")),
        ("endpoint", text(endpoint, "/port").to_owned()),
        ("service", meta("service_name")),
        ("job", format!("{}/{}", namespace(monitor), name(monitor))),
    ];
    labels.extend(added.map(|(label, value)| (label.to_owned(), value)));
    labels
}

/// Returns the relabelling rules of a field of an endpoint with the field names of Prometheus.
fn snake_case_rules(endpoint: &Value, field: &str) -> Vec<Value> {
    let renamed = |field: &str| match field {
        "sourceLabels" => "source_labels".to_owned(),
        "targetLabel" => "target_label".to_owned(),
        other => other.to_owned(),
    };
    let rules = list(endpoint, field).iter().filter_map(Value::as_object);
    rules
        .map(|rule| {
            let fields = rule.iter().map(|(field, value)| (renamed(field), value.clone()));
            Value::Object(fields.collect::<Map<_, _>>())
        })
        .collect()
}
