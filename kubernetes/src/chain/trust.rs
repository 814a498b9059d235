//! The API server's side: does it reach the adapter, and does the certificate that the sidecar makes convince it?

use super::{BrokenLink, Link, adapter::Adapter, component::Component};
use crate::{
    objects::{self, containers, environment, list, name, namespace, of_kind, resolve_port, text, title},
    permissions::{Action, allowed, bound},
};
use serde_json::Value;
use serving_cert::certificate::Identity;
use std::collections::BTreeMap;

/// The API that the HPA controller asks.
const GROUP_VERSION: (&str, &str) = ("custom.metrics.k8s.io", "v1beta1");

/// Holds the APIService, the Service, the adapter and its sidecar against each other.
pub(super) fn check(objects: &[Value], adapter: &Adapter<'_>) -> Vec<BrokenLink> {
    let (group, version) = GROUP_VERSION;
    let wanted = format!("{version}.{group}");
    let Some(api_service) = of_kind(objects, "APIService").find(|object| name(object) == wanted) else {
        return vec![BrokenLink::new(
            Link::Trusted,
            format!("there is no APIService {wanted}"),
        )];
    };
    let mut broken = Vec::new();
    let mut expect = |holds: bool, link: Link, reason: String| {
        if !holds {
            broken.push(BrokenLink::new(link, reason));
        }
    };
    let registered = (
        text(api_service, "/spec/group"),
        text(api_service, "/spec/version"),
    );
    expect(
        registered == GROUP_VERSION,
        Link::Trusted,
        format!("{wanted} registers {registered:?}"),
    );
    let is_verified = api_service
        .pointer("/spec/insecureSkipTLSVerify")
        .is_none_or(|skip| skip == &Value::Bool(false));
    expect(
        is_verified,
        Link::Trusted,
        format!("{wanted} has insecureSkipTLSVerify"),
    );
    if let Err(reason) = leads_to_adapter(objects, api_service, adapter) {
        expect(false, Link::Trusted, reason);
    }

    match sidecar(adapter.component.template) {
        None => expect(
            false,
            Link::Trusted,
            "no sidecar makes the adapter's certificate".to_owned(),
        ),
        Some(sidecar) => {
            for reason in sidecar_problems(api_service, adapter, sidecar) {
                expect(false, Link::Trusted, reason);
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
            "the sidecar's account {} may not {verb} the APIService {wanted}",
            account.name
        );
        expect(allowed(objects, account, action), Link::Permitted, reason);
    }
    for (role, in_namespace) in [
        ("system:auth-delegator", None),
        ("extension-apiserver-authentication-reader", Some("kube-system")),
    ] {
        let reason = format!(
            "{} is not bound to {role} in {}",
            account.name,
            in_namespace.unwrap_or("the cluster")
        );
        expect(
            bound(objects, account, role, in_namespace),
            Link::Permitted,
            reason,
        );
    }
    broken
}

/// From the APIService through its Service to the port on which the adapter listens.
fn leads_to_adapter(objects: &[Value], api_service: &Value, adapter: &Adapter<'_>) -> Result<(), String> {
    let (in_namespace, called) = (
        text(api_service, "/spec/service/namespace"),
        text(api_service, "/spec/service/name"),
    );
    let service = objects::find(objects, "Service", in_namespace, called).ok_or_else(|| {
        format!(
            "{} names the Service {in_namespace}/{called}, which does not exist",
            title(api_service)
        )
    })?;
    adapter.component.is_behind(service)?;
    // The API's default.
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
            "{} leads to the port {reached:?}, the adapter listens on {listened:?}",
            title(service)
        ))
    }
}

/// The sidecar is the container that is told of an APIService.
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
            "the API server asks for {expected}, the certificate is for {:?}",
            identity.dns_names
        ));
    }
    if setting("API_SERVICE") != name(api_service) {
        problems.push(format!(
            "the sidecar publishes in {}, not in {}",
            setting("API_SERVICE"),
            name(api_service)
        ));
    }
    let starts_first = text(sidecar, "/restartPolicy") == "Always" && sidecar.get("startupProbe").is_some();
    if !starts_first {
        problems.push(
            "the adapter would not wait for the certificate: no restartPolicy Always and startupProbe"
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
            problems.push(format!("{flag} is not the {file} that the sidecar writes"));
        }
    }
    let in_memory = list(template, "/spec/volumes")
        .iter()
        .any(|volume| Some(text(volume, "/name")) == written && text(volume, "/emptyDir/medium") == "Memory");
    if !in_memory {
        problems.push("the private key would be written to a disk".to_owned());
    }
    problems
}

/// The volume that a container has mounted at a directory.
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
