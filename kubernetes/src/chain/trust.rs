//! The API server's side of the chain: the path to the adapter, and the certificate that the sidecar issues.

use super::{adapter::Adapter, broken_link::BrokenLink, component::Component};
use crate::{
    objects::{self, containers, environment, list, name, namespace, of_kind, resolve_port, text, title},
    permissions::{Action, allowed, bound},
};
use serde_json::Value;
use serving_cert::certificate::Identity;
use std::collections::BTreeMap;
use wiring::Link;

/// The API that the HPA controller reads.
const GROUP_VERSION: (&str, &str) = ("custom.metrics.k8s.io", "v1beta1");

/// Checks that the APIService, the Service, the adapter and its sidecar agree.
pub(super) fn check(objects: &[Value], adapter: &Adapter<'_>) -> Vec<BrokenLink> {
    let (group, version) = GROUP_VERSION;
    let wanted = format!("{version}.{group}");
    let Some(api_service) = of_kind(objects, "APIService").find(|object| name(object) == wanted) else {
        return vec![BrokenLink::new(
            Link::Apiservice,
            format!("there is no APIService {wanted}"),
        )];
    };
    let mut broken = Vec::new();
    let mut expect = |holds: bool, reason: String| {
        if !holds {
            broken.push(BrokenLink::new(Link::Apiservice, reason));
        }
    };
    let registered = (
        text(api_service, "/spec/group"),
        text(api_service, "/spec/version"),
    );
    expect(
        registered == GROUP_VERSION,
        format!("{wanted} registers {registered:?}"),
    );
    let is_verified = api_service
        .pointer("/spec/insecureSkipTLSVerify")
        .is_none_or(|skip| skip == &Value::Bool(false));
    expect(is_verified, format!("{wanted} has insecureSkipTLSVerify"));
    if let Err(reason) = check_route(objects, api_service, adapter) {
        expect(false, reason);
    }

    match sidecar(adapter.component.template) {
        None => expect(
            false,
            "no sidecar issues the certificate of the adapter".to_owned(),
        ),
        Some(sidecar) => {
            for reason in sidecar_problems(api_service, adapter, sidecar) {
                expect(false, reason);
            }
        }
    }

    let account = adapter.component.account();
    for verb in ["get", "patch"] {
        let action = Action {
            verb,
            group: "apiregistration.k8s.io",
            resource: "apiservices",
            name: Some(&wanted),
            namespace: None,
        };
        let reason = format!(
            "the account {} of the sidecar may not {verb} the APIService {wanted}",
            account.name
        );
        expect(allowed(objects, account, action), reason);
    }
    let delegator = "system:auth-delegator";
    let reason = format!("{} is not bound to {delegator} in the cluster", account.name);
    expect(bound(objects, account, delegator, None), reason);
    // The adapter authenticates the API server by the authority in this ConfigMap.
    for verb in ["get", "list", "watch"] {
        let action = Action {
            verb,
            group: "",
            resource: "configmaps",
            name: Some("extension-apiserver-authentication"),
            namespace: Some("kube-system"),
        };
        let reason = format!(
            "{} may not {verb} the ConfigMap extension-apiserver-authentication in kube-system",
            account.name
        );
        expect(allowed(objects, account, action), reason);
    }
    broken
}

/// Checks that the Service of the APIService targets the port on which the adapter listens.
fn check_route(objects: &[Value], api_service: &Value, adapter: &Adapter<'_>) -> Result<(), String> {
    let (in_namespace, service_name) = (
        text(api_service, "/spec/service/namespace"),
        text(api_service, "/spec/service/name"),
    );
    let service = objects::find(objects, "Service", in_namespace, service_name).ok_or_else(|| {
        format!(
            "{} names the Service {in_namespace}/{service_name}, which does not exist",
            title(api_service)
        )
    })?;
    adapter.component.check_selected_by(service)?;
    // 443 is the default of the API.
    let number = api_service
        .pointer("/spec/service/port")
        .and_then(Value::as_u64)
        .unwrap_or(443);
    let mut ports = list(service, "/spec/ports").iter();
    let port = ports
        .find(|port| port["port"].as_u64() == Some(number))
        .ok_or_else(|| format!("{} has no port {number}", title(service)))?;
    let reached = resolve_port(adapter.component.template, &port["targetPort"]).map(|port| port.to_string());
    let listened = adapter.component.flag("--secure-port");
    if reached.as_deref() == listened {
        Ok(())
    } else {
        Err(format!(
            "{} targets the port {reached:?}, the adapter listens on {listened:?}",
            title(service)
        ))
    }
}

/// Finds the sidecar: the container with the variable `API_SERVICE`.
fn sidecar(template: &Value) -> Option<&Value> {
    containers(template).find(|container| environment(container).contains_key("API_SERVICE"))
}

fn sidecar_problems(api_service: &Value, adapter: &Adapter<'_>, sidecar: &Value) -> Vec<String> {
    let settings = environment(sidecar);
    let setting = |variable: &str| settings.get(variable).copied().unwrap_or_default();
    let Component {
        workload,
        template,
        container,
    } = adapter.component;
    let mut problems = Vec::new();

    let expected = format!(
        "{}.{}.svc",
        text(api_service, "/spec/service/name"),
        text(api_service, "/spec/service/namespace")
    );
    let in_namespace = match setting("SERVICE_NAMESPACE") {
        "" if reads_field(sidecar, "SERVICE_NAMESPACE", "metadata.namespace") => namespace(workload),
        stated => stated,
    };
    let identity = Identity::of_service(setting("SERVICE_NAME"), in_namespace, "cluster.local", "pod");
    if !identity.dns_names.contains(&expected) {
        problems.push(format!(
            "the API server expects {expected}, the certificate is for {:?}",
            identity.dns_names
        ));
    }
    if setting("API_SERVICE") != name(api_service) {
        problems.push(format!(
            "the sidecar publishes its authority in {}, not in {}",
            setting("API_SERVICE"),
            name(api_service)
        ));
    }
    let starts_first = text(sidecar, "/restartPolicy") == "Always" && sidecar.get("startupProbe").is_some();
    if !starts_first {
        problems.push(
            "the adapter does not wait for the certificate: the sidecar lacks restartPolicy Always or a startupProbe"
                .to_owned(),
        );
    }
    let written = volume_of(sidecar, setting("DIRECTORY"));
    for (flag, file) in [
        ("--tls-cert-file", "tls.crt"),
        ("--tls-private-key-file", "tls.key"),
    ] {
        let read = objects::flag(container, flag)
            .and_then(|path| path.strip_suffix(file))
            .map(|path| path.trim_end_matches('/'));
        let read = read.and_then(|directory| volume_of(container, directory));
        if read.is_none() || read != written {
            problems.push(format!("{flag} is not the {file} of the sidecar"));
        }
    }
    let in_memory = list(template, "/spec/volumes")
        .iter()
        .any(|volume| Some(text(volume, "/name")) == written && text(volume, "/emptyDir/medium") == "Memory");
    if !in_memory {
        problems.push("the private key is written to a disk".to_owned());
    }
    problems
}

/// Returns the volume that a container mounts at a directory.
fn volume_of<'object>(container: &'object Value, directory: &str) -> Option<&'object str> {
    let mounts: BTreeMap<&str, &str> = list(container, "/volumeMounts")
        .iter()
        .map(|mount| (text(mount, "/mountPath"), text(mount, "/name")))
        .collect();
    mounts.get(directory).copied()
}

fn reads_field(container: &Value, variable: &str, field: &str) -> bool {
    list(container, "/env").iter().any(|entry| {
        text(entry, "/name") == variable && text(entry, "/valueFrom/fieldRef/fieldPath") == field
    })
}
