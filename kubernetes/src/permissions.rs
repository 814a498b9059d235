//! Roles with excessive permissions.

use crate::{
    findings::Finding,
    objects::{self, list, name},
};
use serde_json::Value;

/// Finds roles with excessive permissions: all verbs, all groups, Secrets, or core resources of the whole cluster
/// (unless the role names the objects).
#[must_use]
pub fn excessive(objects: &[Value]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for role in objects
        .iter()
        .filter(|object| matches!(objects::kind(object), "Role" | "ClusterRole"))
    {
        for rule in list(role, "/rules") {
            let has = |pointer: &str, wanted: &str| list(rule, pointer).iter().any(|value| value == wanted);
            for (is_excessive, problem) in [
                (has("/verbs", "*"), "allows every verb"),
                (has("/apiGroups", "*"), "covers every API group"),
                (has("/resources", "secrets"), "allows access to Secrets"),
                (
                    has("/apiGroups", "") && has("/resources", "*"),
                    "covers every resource of the core group",
                ),
                (
                    objects::kind(role) == "ClusterRole"
                        && has("/apiGroups", "")
                        && list(rule, "/resourceNames").is_empty(),
                    "covers every namespace",
                ),
            ] {
                if is_excessive {
                    findings.push(Finding::new(role, format!("{} {problem}", name(role))));
                }
            }
        }
    }
    findings
}
