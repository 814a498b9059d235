//! References to objects by name: roles, accounts, priorities, and the classes of nodes and of load balancers.

use crate::{
    findings::Finding,
    objects::{self, list, name, namespace, of_kind, text, workloads},
};
use serde_json::Value;

/// Finds references to objects that do not exist. Objects of Kubernetes itself, with names that start with `system`, exist.
#[must_use]
pub fn missing(objects: &[Value]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let missing = |from: &Value, kind: &str, namespace: &str, name: &str| {
        let exists = name.starts_with("system") || objects::find(objects, kind, namespace, name).is_some();
        (!exists).then(|| Finding::new(from, format!("the {kind} {name:?} does not exist")))
    };
    for binding in objects
        .iter()
        .filter(|object| matches!(objects::kind(object), "RoleBinding" | "ClusterRoleBinding"))
    {
        let kind = text(binding, "/roleRef/kind");
        let role_namespace = if kind == "Role" { namespace(binding) } else { "" };
        findings.extend(missing(
            binding,
            kind,
            role_namespace,
            text(binding, "/roleRef/name"),
        ));
        for subject in list(binding, "/subjects") {
            let of_kubernetes = text(subject, "/name") == "horizontal-pod-autoscaler";
            if text(subject, "/kind") == "ServiceAccount" && !of_kubernetes {
                let (namespace, account) = (text(subject, "/namespace"), text(subject, "/name"));
                findings.extend(missing(binding, "ServiceAccount", namespace, account));
            }
        }
    }
    for (object, template) in workloads(objects) {
        if let Some(class) = template.pointer("/spec/priorityClassName") {
            let class = class.as_str().unwrap_or_default();
            findings.extend(missing(object, "PriorityClass", "", class));
        }
    }
    for ingress in of_kind(objects, "Ingress") {
        let class = text(ingress, "/spec/ingressClassName");
        findings.extend(missing(ingress, "IngressClass", "", class));
    }
    for class in of_kind(objects, "IngressClass") {
        let parameters = |field: &str| text(class, &format!("/spec/parameters/{field}"));
        findings.extend(missing(class, parameters("kind"), "", parameters("name")));
    }
    for pool in of_kind(objects, "NodePool") {
        let class = "/spec/template/spec/nodeClassRef";
        let kind = text(pool, &format!("{class}/kind"));
        let class_name = text(pool, &format!("{class}/name"));
        findings.extend(missing(pool, kind, "", class_name));
        let group = text(pool, &format!("{class}/group"));
        for referred in of_kind(objects, kind).filter(|referred| name(referred) == class_name) {
            if !text(referred, "/apiVersion").starts_with(&format!("{group}/")) {
                findings.push(Finding::new(pool, format!("{kind} is not of the group {group}")));
            }
        }
    }
    findings
}
