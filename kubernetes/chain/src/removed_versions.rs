//! API versions that Kubernetes has removed. A cluster rejects their objects.
//! <https://kubernetes.io/docs/reference/using-api/deprecation-guide/>

use serde_json::Value;
use wiring::Link;

use crate::{
    notes::Notes,
    objects::{kind, text, title},
};

/// The removed version, the release that removed it, and the version to use.
const REMOVED: [(&str, &str, &str); 11] = [
    ("autoscaling/v2beta1", "1.25", "autoscaling/v2"),
    ("autoscaling/v2beta2", "1.26", "autoscaling/v2"),
    (
        "apiregistration.k8s.io/v1beta1",
        "1.22",
        "apiregistration.k8s.io/v1",
    ),
    (
        "rbac.authorization.k8s.io/v1alpha1",
        "1.22",
        "rbac.authorization.k8s.io/v1",
    ),
    (
        "rbac.authorization.k8s.io/v1beta1",
        "1.22",
        "rbac.authorization.k8s.io/v1",
    ),
    ("apps/v1beta1", "1.16", "apps/v1"),
    ("apps/v1beta2", "1.16", "apps/v1"),
    ("batch/v1beta1", "1.25", "batch/v1"),
    ("batch/v2alpha1", "1.21", "batch/v1"),
    ("policy/v1beta1", "1.25", "policy/v1"),
    // Of its kinds, only the workloads are part of a chain.
    ("extensions/v1beta1", "1.16", "apps/v1"),
];

/// Returns what to do about the API version of an object; `None` for a version that is served.
pub(crate) fn problem(object: &Value) -> Option<String> {
    let version = text(object, "/apiVersion");
    let (_, removed_in, instead) = REMOVED.iter().find(|(removed, ..)| *removed == version)?;
    Some(format!(
        "{} has the apiVersion {version}, which Kubernetes {removed_in} removed: use {instead}",
        title(object)
    ))
}

/// Reports the RBAC objects with a removed version, in one finding for each version. Those of other kinds are reported where
/// they are used.
pub(crate) fn check_permissions(objects: &[Value], notes: &mut Notes) {
    let of_rbac = |object: &&Value| {
        let kinds = ["Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"];
        kinds.contains(&kind(object))
    };
    for (removed, removed_in, instead) in REMOVED {
        let found = objects.iter().filter(of_rbac);
        let found: Vec<String> = found
            .filter(|object| text(object, "/apiVersion") == removed)
            .map(title)
            .collect();
        if !found.is_empty() {
            notes.broken(
                Link::HpaActive,
                format!(
                    "Kubernetes {removed_in} removed {removed}: use {instead} in {}",
                    found.join(", ")
                ),
            );
        }
    }
}
