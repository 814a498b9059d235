//! The route from the API server to the adapter: the APIService, the Service and the port.

use serde_json::Value;
use wiring::Link;

use crate::{
    adapter::Adapter,
    component::Component,
    notes::Notes,
    objects::{self, list, name, of_kind, target_port, text, title},
    permissions::{Action, allowed, bound, is_defined},
    removed_versions,
};

/// A metrics API that the HPA controller reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Api {
    /// The API group.
    pub(crate) group: &'static str,
    /// The versions that the HPA controller reads. The first is the usual one.
    versions: &'static [&'static str],
    /// Whether prometheus-adapter usually serves the API.
    of_adapter: bool,
}

/// Metrics of pods and other objects.
pub(crate) const CUSTOM: Api = Api {
    group: "custom.metrics.k8s.io",
    versions: &["v1beta1", "v1beta2"],
    of_adapter: true,
};

/// Metrics that belong to no object of Kubernetes.
pub(crate) const EXTERNAL: Api = Api {
    group: "external.metrics.k8s.io",
    versions: &["v1beta1"],
    of_adapter: false,
};

/// CPU and memory.
pub(crate) const RESOURCE: Api = Api {
    group: "metrics.k8s.io",
    versions: &["v1beta1"],
    of_adapter: false,
};

/// Finds the APIService of an API.
pub(crate) fn find(objects: &[Value], api: Api) -> Option<&Value> {
    of_kind(objects, "APIService").find(|object| {
        let by_name = name(object).split_once('.').map(|(_, group)| group);
        text(object, "/spec/group") == api.group || by_name == Some(api.group)
    })
}

/// Whether the APIService routes requests to this adapter.
pub(crate) fn leads_to(objects: &[Value], api_service: &Value, adapter: &Component<'_>) -> bool {
    service_of(objects, api_service).is_ok_and(|service| adapter.check_selected_by(service).is_ok())
}

/// Checks the APIService of an API and its route.
pub(crate) fn check(objects: &[Value], api: Api, adapter: &Adapter<'_>, notes: &mut Notes) {
    let wanted = format!("{}.{}", api.versions[0], api.group);
    let Some(api_service) = find(objects, api) else {
        let missing = format!("there is no APIService {wanted}");
        match &adapter.component {
            Some(component) if api.of_adapter => {
                let others =
                    of_kind(objects, "APIService").filter(|other| leads_to(objects, other, component));
                let others: Vec<&str> = others.map(name).collect();
                let instead = if others.is_empty() {
                    String::new()
                } else {
                    format!(", only {}", others.join(", "))
                };
                notes.broken(
                    Link::Apiservice,
                    format!("{missing} for {}{instead}", title(component.workload)),
                );
            }
            _ => notes.not_checked(Link::Apiservice, format!("{missing} in the manifests")),
        }
        return;
    };
    notes.all_broken(Link::Apiservice, removed_versions::problem(api_service));
    let (group, version) = (
        text(api_service, "/spec/group"),
        text(api_service, "/spec/version"),
    );
    if group != api.group
        || !api.versions.contains(&version)
        || name(api_service) != format!("{version}.{group}")
    {
        notes.broken(
            Link::Apiservice,
            format!(
                "{} registers {group}/{version}; expected {}",
                title(api_service),
                api.versions.join(" or ")
            ),
        );
    }
    let is_unverified = api_service.pointer("/spec/insecureSkipTLSVerify") == Some(&Value::Bool(true));
    if is_unverified {
        notes.warn(
            Link::Apiservice,
            format!(
                "{} has insecureSkipTLSVerify: any server that answers at the address of the adapter can control the HPA",
                title(api_service)
            ),
        );
    }
    // Another program may serve the other APIs: metrics-server, KEDA.
    let component = adapter
        .component
        .as_ref()
        .filter(|component| api.of_adapter || leads_to(objects, api_service, component));
    match check_route(objects, api_service, component) {
        Ok(Some(service)) => {
            let authority = if is_unverified || !text(api_service, "/spec/caBundle").is_empty() {
                ""
            } else {
                "; it has no caBundle, which therefore must be added in the cluster"
            };
            notes.works(
                Link::Apiservice,
                format!("{} leads to {service}{authority}", title(api_service)),
            );
        }
        Ok(None) => notes.not_checked(
            Link::Apiservice,
            format!("the Service of {} is not among the manifests", title(api_service)),
        ),
        Err(reason) => notes.broken(Link::Apiservice, reason),
    }
    if let Some(component) = component {
        check_authentication(objects, component, notes);
    }
}

fn service_of<'objects>(objects: &'objects [Value], api_service: &Value) -> Result<&'objects Value, String> {
    let (in_namespace, service_name) = (
        text(api_service, "/spec/service/namespace"),
        text(api_service, "/spec/service/name"),
    );
    objects::find(objects, "Service", in_namespace, service_name).ok_or_else(|| {
        format!(
            "{} names the Service {in_namespace}/{service_name}, which does not exist",
            title(api_service)
        )
    })
}

/// Checks that the Service of the APIService targets the port on which the adapter listens. Returns the Service, or `None` if
/// neither it nor the adapter is among the objects.
fn check_route(
    objects: &[Value],
    api_service: &Value,
    adapter: Option<&Component<'_>>,
) -> Result<Option<String>, String> {
    let service = match (service_of(objects, api_service), adapter) {
        (Ok(service), _) => service,
        (Err(reason), Some(_)) => return Err(reason),
        (Err(_), None) => return Ok(None),
    };
    // 443 is the default of the API.
    let number = api_service
        .pointer("/spec/service/port")
        .and_then(Value::as_u64)
        .unwrap_or(443);
    let mut ports = list(service, "/spec/ports").iter();
    let port = ports
        .find(|port| port["port"].as_u64() == Some(number))
        .ok_or_else(|| format!("{} has no port {number}", title(service)))?;
    let Some(component) = adapter else {
        return Ok(Some(title(service)));
    };
    component.check_selected_by(service)?;
    let reached = target_port(component.template, port).map(|port| port.to_string());
    match component.flag("--secure-port") {
        Some(listened) if reached.as_deref() != Some(listened) => Err(format!(
            "{} targets the port {}, the adapter listens on {listened}",
            title(service),
            reached.unwrap_or_else(|| port["targetPort"].to_string()),
        )),
        None if reached.is_none() => Err(format!("{} targets a port that no container has", title(service))),
        _ => Ok(Some(title(service))),
    }
}

/// Checks the permissions with which the adapter authenticates the API server.
fn check_authentication(objects: &[Value], component: &Component<'_>, notes: &mut Notes) {
    let account = component.account();
    if !is_defined(objects, account) {
        return;
    }
    let delegator = "system:auth-delegator";
    if !bound(objects, account, delegator, None) {
        notes.broken(
            Link::Apiservice,
            format!("{} is not bound to {delegator} in the cluster", account.name),
        );
    }
    // The ConfigMap contains the certificate authority with which the adapter authenticates the API server. Kubernetes provides
    // this Role for it.
    let reader = "extension-apiserver-authentication-reader";
    if bound(objects, account, reader, Some("kube-system")) {
        return;
    }
    for verb in ["get", "list", "watch"] {
        let action = Action {
            verb,
            group: "",
            resource: "configmaps",
            name: Some("extension-apiserver-authentication"),
            namespace: Some("kube-system"),
        };
        if !allowed(objects, account, action) {
            notes.broken(
                Link::Apiservice,
                format!(
                    "{} may not {verb} the ConfigMap extension-apiserver-authentication in kube-system: bind it to {reader} there",
                    account.name
                ),
            );
        }
    }
}
