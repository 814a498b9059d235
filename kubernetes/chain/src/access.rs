//! The permissions of Prometheus, the adapter and the HPA controller, as far as the manifests define them.

use serde_json::Value;
use wiring::Link;

use crate::{
    component::Component,
    notes::Notes,
    objects::namespace,
    permissions::{Account, Action, allowed, is_defined, missing_roles},
    removed_versions,
};

/// The account of the HPA controller.
const CONTROLLER: Account<'_> = Account {
    namespace: "kube-system",
    name: "horizontal-pod-autoscaler",
};

/// Checks that the HPA controller may read a metric. If the permissions of the adapter that serves the metric are among the
/// objects, this permission is expected there, too.
pub(crate) fn check_controller(
    objects: &[Value],
    hpa: &Value,
    adapter: Option<&Component<'_>>,
    (group, resource): (&str, &str),
    notes: &mut Notes,
) {
    let Account { namespace: of, name } = CONTROLLER;
    let in_namespace = namespace(hpa);
    let action = Action {
        verb: "get",
        group,
        resource,
        name: None,
        namespace: Some(in_namespace),
    };
    if allowed(objects, CONTROLLER, action) {
        notes.works(Link::HpaActive, format!("the HPA controller may read {group}"));
    } else if adapter.is_some_and(|component| is_defined(objects, component.account())) {
        notes.broken(
            Link::HpaActive,
            format!(
                "{of}/{name} may not get {resource} of {group} in {in_namespace}{}",
                explain(objects, CONTROLLER)
            ),
        );
    } else {
        notes.not_checked(
            Link::HpaActive,
            format!("no binding that lets {of}/{name} read {group} is among the manifests"),
        );
        return;
    }
    removed_versions::check_permissions(objects, notes);
}

/// Checks that a component may read the pods in the namespace of the HPA, if its permissions are among the objects.
pub(crate) fn check_pods(
    objects: &[Value],
    hpa: &Value,
    link: Link,
    component: &Component<'_>,
    verbs: &[&str],
    notes: &mut Notes,
) {
    let (account, in_namespace) = (component.account(), namespace(hpa));
    if !is_defined(objects, account) {
        return;
    }
    for verb in verbs {
        let action = Action {
            verb,
            group: "",
            resource: "pods",
            name: None,
            namespace: Some(in_namespace),
        };
        if !allowed(objects, account, action) {
            notes.broken(
                link,
                format!(
                    "{}/{} may not {verb} pods in {in_namespace}{}",
                    account.namespace,
                    account.name,
                    explain(objects, account)
                ),
            );
        }
    }
}

/// Says why a permission is missing.
fn explain(objects: &[Value], account: Account<'_>) -> String {
    let missing = missing_roles(objects, account);
    if missing.is_empty() {
        return String::new();
    }
    format!(
        "; it is bound to {}, which is not among the manifests",
        missing.join(", ")
    )
}
