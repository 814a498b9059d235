//! Permissions of service accounts, from the rendered RBAC objects.

use serde_json::Value;

use crate::objects::{self, list, name, namespace, text};

/// A service account.
#[derive(Clone, Copy, Debug)]
pub struct Account<'name> {
    /// The namespace of the account.
    pub namespace: &'name str,
    /// The name of the account.
    pub name: &'name str,
}

/// A request to the API server.
#[derive(Clone, Copy, Debug)]
pub struct Action<'name> {
    /// The verb, such as `list`.
    pub verb: &'name str,
    /// The API group; empty for the core group.
    pub group: &'name str,
    /// The resource, such as `pods`.
    pub resource: &'name str,
    /// The name of the object, if the request is for one object.
    pub name: Option<&'name str>,
    /// The namespace; `None` for a cluster-scoped resource.
    pub namespace: Option<&'name str>,
}

/// Whether a `Role` or `ClusterRole` bound to the account allows the action. Of the roles that are built into Kubernetes,
/// only `cluster-admin` is known.
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
            && (text(binding, "/roleRef/name") == "cluster-admin"
                || role(objects, binding)
                    .is_some_and(|role| list(role, "/rules").iter().any(|rule| permits(rule, action))))
    })
}

/// Whether the account is bound to a role in a namespace, or in the whole cluster for `None`. The role may be
/// built into Kubernetes, so it need not be among the objects.
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

/// Returns the roles to which the account is bound and which are not among the objects. Roles that are built into Kubernetes
/// are left out.
pub(crate) fn missing_roles<'objects>(
    objects: &'objects [Value],
    account: Account<'_>,
) -> Vec<&'objects str> {
    let bindings = objects
        .iter()
        .filter(|object| matches!(objects::kind(object), "RoleBinding" | "ClusterRoleBinding"));
    bindings
        .filter(|binding| is_subject(binding, account) && role(objects, binding).is_none())
        .map(|binding| text(binding, "/roleRef/name"))
        .filter(|role| !role.starts_with("system:") && *role != "extension-apiserver-authentication-reader")
        .collect()
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

/// Whether the objects contain the account or one of its bindings. If not, its permissions are defined elsewhere.
pub(crate) fn is_defined(objects: &[Value], account: Account<'_>) -> bool {
    let is_account = |object: &&Value| {
        objects::kind(object) == "ServiceAccount"
            && namespace(object) == account.namespace
            && name(object) == account.name
    };
    objects.iter().any(|object| {
        is_account(&object)
            || matches!(objects::kind(object), "RoleBinding" | "ClusterRoleBinding")
                && is_subject(object, account)
    })
}
