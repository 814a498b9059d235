//! Who may do what, as far as the rendered RBAC objects say it.

use crate::objects::{self, list, name, namespace, text};
use serde_json::Value;

/// A service account.
#[derive(Clone, Copy, Debug)]
pub struct Account<'name> {
    /// Its namespace.
    pub namespace: &'name str,
    /// Its name.
    pub name: &'name str,
}

/// Something that is to be done.
#[derive(Clone, Copy, Debug)]
pub struct Action<'name> {
    /// The verb, such as `list`.
    pub verb: &'name str,
    /// The API group; empty for the core.
    pub group: &'name str,
    /// The resource, such as `pods`.
    pub resource: &'name str,
    /// The one object it is done to, if it is one.
    pub name: Option<&'name str>,
    /// Where; `None` for what belongs to no namespace.
    pub namespace: Option<&'name str>,
}

/// Whether a `Role` or `ClusterRole` that is bound to the account in these objects allows the action.
#[must_use]
pub fn allowed(objects: &[Value], account: Account<'_>, action: Action<'_>) -> bool {
    objects.iter().any(|binding| {
        let reaches = match objects::kind(binding) {
            "ClusterRoleBinding" => true,
            "RoleBinding" => action.namespace == Some(namespace(binding)),
            _ => false,
        };
        reaches
            && is_subject(binding, account)
            && role(objects, binding)
                .is_some_and(|role| list(role, "/rules").iter().any(|rule| permits(rule, action)))
    })
}

/// Whether the account is bound, in this namespace or, with `None`, in the whole cluster, to a role that Kubernetes brings.
#[must_use]
pub fn bound(objects: &[Value], account: Account<'_>, role: &str, in_namespace: Option<&str>) -> bool {
    let kind = if in_namespace.is_some() {
        "RoleBinding"
    } else {
        "ClusterRoleBinding"
    };
    objects::of_kind(objects, kind).any(|binding| {
        namespace(binding) == in_namespace.unwrap_or_default()
            && text(binding, "/roleRef/name") == role
            && is_subject(binding, account)
    })
}

fn is_subject(binding: &Value, account: Account<'_>) -> bool {
    list(binding, "/subjects").iter().any(|subject| {
        text(subject, "/kind") == "ServiceAccount"
            && text(subject, "/namespace") == account.namespace
            && text(subject, "/name") == account.name
    })
}

fn role<'objects>(objects: &'objects [Value], binding: &Value) -> Option<&'objects Value> {
    let kind = text(binding, "/roleRef/kind");
    let in_namespace = if kind == "Role" { namespace(binding) } else { "" };
    objects::find(objects, kind, in_namespace, text(binding, "/roleRef/name"))
}

fn permits(rule: &Value, action: Action<'_>) -> bool {
    let has = |pointer: &str, wanted: &str| {
        list(rule, pointer)
            .iter()
            .any(|value| value == wanted || value == "*")
    };
    let names = list(rule, "/resourceNames");
    has("/verbs", action.verb)
        && has("/apiGroups", action.group)
        && has("/resources", action.resource)
        && (names.is_empty()
            || action
                .name
                .is_some_and(|name| names.iter().any(|value| value == name)))
}

/// Roles that give more than anybody here needs: every verb or every group, Secrets, or pods of the whole cluster.
#[must_use]
pub fn excessive(objects: &[Value]) -> Vec<crate::findings::Finding> {
    let mut findings = Vec::new();
    for role in objects
        .iter()
        .filter(|object| matches!(objects::kind(object), "Role" | "ClusterRole"))
    {
        for rule in list(role, "/rules") {
            let has = |pointer: &str, wanted: &str| list(rule, pointer).iter().any(|value| value == wanted);
            for (is_excessive, problem) in [
                (has("/verbs", "*"), "gives every verb"),
                (has("/apiGroups", "*"), "reaches into every API group"),
                (has("/resources", "secrets"), "gives Secrets"),
                (
                    has("/apiGroups", "") && has("/resources", "*"),
                    "gives every resource of the core",
                ),
                (
                    objects::kind(role) == "ClusterRole" && has("/apiGroups", ""),
                    "reaches into every namespace",
                ),
            ] {
                if is_excessive {
                    findings.push(crate::findings::Finding::new(
                        role,
                        format!("{} {problem}", name(role)),
                    ));
                }
            }
        }
    }
    findings
}
