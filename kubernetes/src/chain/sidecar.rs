//! Checks the sidecar of the adapter, which issues the certificate that the API server verifies.

use std::collections::BTreeMap;

use chain_check::{
    Component,
    objects::{self, containers, environment, list, name, namespace, text},
    permissions::{Action, allowed},
};
use serde_json::Value;
use serving_cert::certificate::Identity;
use wiring::Link;

use super::broken_link::BrokenLink;

/// The registration of the API that the HPA controller reads.
const API_SERVICE: &str = "v1beta1.custom.metrics.k8s.io";

/// Checks that the APIService, the adapter and its sidecar agree.
pub(super) fn check(objects: &[Value], adapter: &Component<'_>) -> Vec<BrokenLink> {
    let mut problems = Vec::new();
    let api_service = objects::find(objects, "APIService", "", API_SERVICE);
    match (sidecar(adapter.template), api_service) {
        (None, _) => problems.push("no sidecar issues the certificate of the adapter".to_owned()),
        (Some(sidecar), Some(api_service)) => {
            problems.extend(sidecar_problems(api_service, adapter, sidecar));
        }
        (Some(_), None) => problems.push(format!("there is no APIService {API_SERVICE}")),
    }
    let account = adapter.account();
    for verb in ["get", "patch"] {
        let action = Action {
            verb,
            group: "apiregistration.k8s.io",
            resource: "apiservices",
            name: Some(API_SERVICE),
            namespace: None,
        };
        if !allowed(objects, account, action) {
            problems.push(format!(
                "the account {} of the sidecar may not {verb} the APIService {API_SERVICE}",
                account.name
            ));
        }
    }
    let broken = problems.into_iter();
    broken
        .map(|problem| BrokenLink::new(Link::Apiservice, problem))
        .collect()
}

/// Finds the sidecar: the container with the variable `API_SERVICE`.
fn sidecar(template: &Value) -> Option<&Value> {
    containers(template).find(|container| environment(container).contains_key("API_SERVICE"))
}

fn sidecar_problems(api_service: &Value, adapter: &Component<'_>, sidecar: &Value) -> Vec<String> {
    let settings = environment(sidecar);
    let setting = |variable: &str| settings.get(variable).copied().unwrap_or_default();
    let Component {
        workload,
        template,
        container,
    } = *adapter;
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
