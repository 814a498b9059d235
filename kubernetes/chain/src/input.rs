//! The manifests to check, as `kubectl apply` would see them.

use serde_json::{Value, json};

use crate::{
    exposition::Exposition,
    objects::{kind, list, name, namespace, title},
};

/// The namespaced kinds that the check reads.
const NAMESPACED: [&str; 17] = [
    "ConfigMap",
    "CronJob",
    "DaemonSet",
    "Deployment",
    "HorizontalPodAutoscaler",
    "Job",
    "NetworkPolicy",
    "Pod",
    "PodMonitor",
    "Prometheus",
    "ReplicaSet",
    "Role",
    "RoleBinding",
    "Service",
    "ServiceAccount",
    "ServiceMonitor",
    "StatefulSet",
];

/// The cluster-scoped kinds that the check reads. kubectl ignores a namespace in these objects.
const CLUSTER_SCOPED: [&str; 4] = ["APIService", "ClusterRole", "ClusterRoleBinding", "Namespace"];

/// The manifests, and the `/metrics` page of the pods.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// The objects. No two have the same kind, namespace and name.
    pub objects: Vec<Value>,
    /// The series that the pods export; `None` if there is no page.
    pub exposition: Option<Result<Exposition, String>>,
}

impl Input {
    /// Creates an input. Objects without a namespace get `default_namespace`. A later object replaces an earlier one with the
    /// same kind, namespace and name, as a later `kubectl apply` does.
    #[must_use]
    pub fn new(objects: Vec<Value>, default_namespace: &str, metrics_text: Option<&str>) -> Self {
        let mut kept: Vec<Value> = Vec::new();
        for mut object in objects.into_iter().flat_map(items) {
            if NAMESPACED.contains(&kind(&object)) && namespace(&object).is_empty() {
                object["metadata"]["namespace"] = json!(default_namespace);
            }
            if CLUSTER_SCOPED.contains(&kind(&object))
                && let Some(metadata) = object["metadata"].as_object_mut()
            {
                metadata.remove("namespace");
            }
            let is_named = !name(&object).is_empty();
            let earlier = kept
                .iter()
                .position(|other| is_named && title(other) == title(&object));
            match earlier {
                Some(position) => kept[position] = object,
                None => kept.push(object),
            }
        }
        Self {
            objects: kept,
            exposition: metrics_text.map(Exposition::parse),
        }
    }
}

/// Returns the objects of a `List`, or the object itself. An empty document is no object.
fn items(object: Value) -> Vec<Value> {
    match kind(&object) {
        "List" => list(&object, "/items").to_vec(),
        _ if object.is_object() => vec![object],
        _ => Vec::new(),
    }
}
