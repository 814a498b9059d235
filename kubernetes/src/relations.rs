//! References between objects: namespaces, selectors, ports, and the owner of a replica count.

use crate::{
    findings::Finding,
    objects::{self, labels, list, name, namespace, of_kind, resolve_port, selected, text, workloads},
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Checks that each object is unique and that its namespace exists.
#[must_use]
pub fn identities(objects: &[Value]) -> Vec<Finding> {
    /// Namespaces that every cluster has.
    const OF_KUBERNETES: [&str; 2] = ["default", "kube-system"];
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for object in objects {
        if !seen.insert(objects::title(object)) {
            findings.push(Finding::new(object, "is defined twice"));
        }
        let namespace = namespace(object);
        let exists = namespace.is_empty()
            || OF_KUBERNETES.contains(&namespace)
            || objects::find(objects, "Namespace", "", namespace).is_some();
        if !exists {
            findings.push(Finding::new(
                object,
                format!("the namespace {namespace} does not exist"),
            ));
        }
    }
    findings
}

/// Checks that each HPA is the only owner of the replica count of its target, and that its bounds differ.
#[must_use]
pub fn scaling(objects: &[Value]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut targets = BTreeMap::new();
    for hpa in of_kind(objects, "HorizontalPodAutoscaler") {
        let (kind, target) = (
            text(hpa, "/spec/scaleTargetRef/kind"),
            text(hpa, "/spec/scaleTargetRef/name"),
        );
        if let Some(other) = targets.insert((namespace(hpa), kind, target), name(hpa)) {
            findings.push(Finding::new(
                hpa,
                format!("{other} already scales {kind} {target}"),
            ));
        }
        match objects::find(objects, kind, namespace(hpa), target) {
            None => findings.push(Finding::new(
                hpa,
                format!("its target {kind} {target} does not exist"),
            )),
            Some(target) if target.pointer("/spec/replicas").is_some() => {
                findings.push(Finding::new(
                    target,
                    format!("sets replicas, which {} owns", objects::title(hpa)),
                ));
            }
            Some(_) => {}
        }
        let bound = |field| hpa.pointer(field).and_then(Value::as_u64).unwrap_or_default();
        let (least, most) = (bound("/spec/minReplicas"), bound("/spec/maxReplicas"));
        if least == 0 || least >= most {
            findings.push(Finding::new(
                hpa,
                format!("minReplicas {least} must be at least 1 and below maxReplicas {most}"),
            ));
        }
        for direction in ["scaleUp", "scaleDown"] {
            let behaviour = format!("/spec/behavior/{direction}");
            let window = hpa.pointer(&format!("{behaviour}/stabilizationWindowSeconds"));
            if window.is_none() || list(hpa, &format!("{behaviour}/policies")).is_empty() {
                findings.push(Finding::new(
                    hpa,
                    format!("{direction} has no window or no policies"),
                ));
            }
        }
    }
    findings
}

/// Checks that each selector matches the pods of exactly one workload. The selector of a workload must match its own pods.
#[must_use]
pub fn selectors(objects: &[Value]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (object, pointer) in objects
        .iter()
        .filter_map(|object| Some((object, selector_pointer(object)?)))
    {
        let selector = labels(object, pointer);
        let matches: Vec<_> = selected(objects, namespace(object), &selector)
            .map(|(owner, _)| owner)
            .collect();
        match matches.as_slice() {
            [] => findings.push(Finding::new(object, "selects no pods")),
            [one] => {
                if objects::pod_template(object).is_some() && *one != object {
                    findings.push(Finding::new(
                        object,
                        format!("selects the pods of {}", objects::title(one)),
                    ));
                }
            }
            many => findings.push(Finding::new(
                object,
                format!("selects the pods of {} workloads", many.len()),
            )),
        }
    }
    for (object, template) in workloads(objects) {
        for constraint in list(template, "/spec/topologySpreadConstraints") {
            if !objects::has_labels(template, &labels(constraint, "/labelSelector/matchLabels")) {
                findings.push(Finding::new(
                    object,
                    "spreads by labels that its pods do not have",
                ));
            }
        }
    }
    findings
}

fn selector_pointer(object: &Value) -> Option<&'static str> {
    match objects::kind(object) {
        "Deployment" | "StatefulSet" | "DaemonSet" | "PodDisruptionBudget" => {
            Some("/spec/selector/matchLabels")
        }
        "Service" if object.pointer("/spec/selector").is_some() => Some("/spec/selector"),
        _ => None,
    }
}

/// Returns the Services to which an Ingress leads, each with its port: `{"name": …}` or `{"number": …}`.
fn backends(ingress: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let rules = list(ingress, "/spec/rules").iter();
    let paths = rules.flat_map(|rule| list(rule, "/http/paths"));
    paths
        .filter_map(|path| path.get("backend"))
        .chain(ingress.pointer("/spec/defaultBackend"))
        .filter_map(|backend| Some((text(backend, "/service/name"), backend.pointer("/service/port")?)))
}

/// Checks that each port of a Service, of an Ingress and of a probe exists.
#[must_use]
pub fn ports(objects: &[Value]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for service in of_kind(objects, "Service") {
        let selector = labels(service, "/spec/selector");
        for (workload, template) in selected(objects, namespace(service), &selector) {
            for port in list(service, "/spec/ports") {
                let target = port
                    .get("targetPort")
                    .or_else(|| port.get("port"))
                    .unwrap_or(&Value::Null);
                if resolve_port(template, target).is_none() {
                    let workload = objects::title(workload);
                    findings.push(Finding::new(
                        service,
                        format!("no container of {workload} has the port {target}"),
                    ));
                }
            }
        }
    }
    for ingress in of_kind(objects, "Ingress") {
        for (service, port) in backends(ingress) {
            let found = objects::find(objects, "Service", namespace(ingress), service);
            let ports = found
                .map(|service| list(service, "/spec/ports"))
                .unwrap_or_default();
            let is_meant = |candidate: &Value| match port.get("number") {
                Some(number) => candidate.get("port") == Some(number),
                None => candidate.get("name") == port.get("name"),
            };
            if !ports.iter().any(is_meant) {
                findings.push(Finding::new(
                    ingress,
                    format!("no Service {service} has the port {port}"),
                ));
            }
        }
    }
    for (object, template) in workloads(objects) {
        for container in objects::containers(template) {
            for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
                let Some(port) = container.pointer(&format!("/{probe}/httpGet/port")) else {
                    continue;
                };
                let found = objects::named_ports(container).any(|(name, _)| Some(name) == port.as_str());
                if !found {
                    findings.push(Finding::new(
                        object,
                        format!("{probe} uses the port {port}, which the container does not name"),
                    ));
                }
            }
        }
    }
    findings
}

/// Checks that only the Services in `public` are reachable from outside the cluster.
#[must_use]
pub fn exposure(objects: &[Value], public: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for service in of_kind(objects, "Service") {
        let kind = text(service, "/spec/type");
        let is_internal = matches!(kind, "" | "ClusterIP") && service.pointer("/spec/externalIPs").is_none();
        if !is_internal && !public.contains(&name(service)) {
            findings.push(Finding::new(
                service,
                format!("is reachable from outside ({kind})"),
            ));
        }
    }
    for ingress in of_kind(objects, "Ingress") {
        for (service, _) in backends(ingress) {
            if !public.contains(&service) {
                findings.push(Finding::new(
                    ingress,
                    format!("makes {service} reachable from outside"),
                ));
            }
        }
    }
    for kind in ["HTTPRoute", "Gateway"] {
        findings.extend(
            of_kind(objects, kind).map(|object| Finding::new(object, "is not a declared entry point")),
        );
    }
    findings
}
