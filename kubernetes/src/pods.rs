//! Rules for every pod: confinement, tokens, images and resources.

use crate::{
    findings::Finding,
    objects::{self, containers, text, workloads},
};
use serde_json::{Value, json};

/// Volume types of the restricted profile.
const VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// Checks the restricted Pod Security Standard (<https://kubernetes.io/docs/concepts/security/pod-security-standards/>).
/// Also requires a read-only root file system and no Service environment variables.
#[must_use]
pub fn confinement(objects: &[Value]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (object, template) in workloads(objects) {
        let spec = template.get("spec").unwrap_or(&Value::Null);
        let mut expect = |holds: bool, problem: String| {
            if !holds {
                findings.push(Finding::new(object, problem));
            }
        };
        for field in ["hostNetwork", "hostPID", "hostIPC"] {
            expect(
                spec.get(field).is_none_or(|value| *value == json!(false)),
                format!("{field} is set"),
            );
        }
        expect(
            spec.get("enableServiceLinks") == Some(&json!(false)),
            "enableServiceLinks is not false".to_owned(),
        );
        expect(
            spec.pointer("/securityContext/sysctls").is_none(),
            "sysctls are set".to_owned(),
        );
        for volume in objects::list(spec, "/volumes") {
            let types = volume
                .as_object()
                .into_iter()
                .flatten()
                .map(|(key, _)| key)
                .filter(|key| *key != "name");
            for kind in types {
                expect(
                    VOLUMES.contains(&kind.as_str()),
                    format!("a volume of type {kind}"),
                );
            }
        }
        for container in containers(template) {
            let name = text(container, "/name");
            for problem in container_problems(spec, container) {
                expect(false, format!("container {name}: {problem}"));
            }
        }
    }
    findings
}

fn container_problems(spec: &Value, container: &Value) -> Vec<&'static str> {
    let own = |pointer: &str| container.pointer(&format!("/securityContext{pointer}"));
    // The container inherits the settings of the pod.
    let inherited =
        |pointer: &str| own(pointer).or_else(|| spec.pointer(&format!("/securityContext{pointer}")));
    let dropped = objects::list(container, "/securityContext/capabilities/drop");
    let added = objects::list(container, "/securityContext/capabilities/add");
    let seccomp = inherited("/seccompProfile/type").and_then(Value::as_str);
    let checks = [
        (
            own("/privileged").is_none_or(|value| *value == json!(false)),
            "is privileged",
        ),
        (
            own("/allowPrivilegeEscalation") == Some(&json!(false)),
            "allowPrivilegeEscalation is not false",
        ),
        (
            inherited("/runAsNonRoot") == Some(&json!(true)),
            "runAsNonRoot is not true",
        ),
        (
            inherited("/runAsUser").is_none_or(|user| *user != json!(0)),
            "runs as root",
        ),
        (
            matches!(seccomp, Some("RuntimeDefault" | "Localhost")),
            "has no seccomp profile",
        ),
        (dropped.contains(&json!("ALL")), "does not drop all capabilities"),
        (
            added.iter().all(|capability| capability == "NET_BIND_SERVICE"),
            "adds capabilities",
        ),
        (
            own("/procMount").is_none_or(|value| value == "Default"),
            "has a procMount other than Default",
        ),
        (
            objects::list(container, "/ports")
                .iter()
                .all(|port| port.get("hostPort").is_none()),
            "has a host port",
        ),
        (
            own("/readOnlyRootFilesystem") == Some(&json!(true)),
            "can write to its root file system",
        ),
    ];
    checks
        .into_iter()
        .filter(|(holds, _)| !holds)
        .map(|(_, problem)| problem)
        .collect()
}

/// Checks that only the workloads in `callers` mount a token, and that each workload has its own service account.
#[must_use]
pub fn tokens(objects: &[Value], callers: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (object, template) in workloads(objects) {
        let mounts = template.pointer("/spec/automountServiceAccountToken");
        let calls = callers.contains(&objects::name(object));
        if mounts != Some(&json!(calls)) {
            findings.push(Finding::new(
                object,
                format!("automountServiceAccountToken is not {calls}"),
            ));
        }
        let account = text(template, "/spec/serviceAccountName");
        match objects::find(objects, "ServiceAccount", objects::namespace(object), account) {
            None => findings.push(Finding::new(
                object,
                format!("the ServiceAccount {account:?} does not exist"),
            )),
            Some(account) if account.get("automountServiceAccountToken") != Some(&json!(false)) => {
                findings.push(Finding::new(account, "automountServiceAccountToken is not false"));
            }
            Some(_) => {}
        }
    }
    findings
}

/// Checks that each image is one of `known` (name:tag), is pulled only if not present, and runs its own entrypoint.
#[must_use]
pub fn images(objects: &[Value], known: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (object, template) in workloads(objects) {
        for container in containers(template) {
            let image = text(container, "/image");
            if !known.iter().any(|reference| reference == image) {
                findings.push(Finding::new(
                    object,
                    format!("image {image} is neither built here nor pinned"),
                ));
            }
            if text(container, "/imagePullPolicy") != "IfNotPresent" {
                findings.push(Finding::new(
                    object,
                    format!("imagePullPolicy of {image} is not IfNotPresent"),
                ));
            }
            if container.get("command").is_some() {
                findings.push(Finding::new(object, format!("{image} has a command")));
            }
        }
    }
    findings
}

/// Checks that each container has CPU and memory requests and a memory limit, and no CPU limit.
#[must_use]
pub fn resources(objects: &[Value]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (object, template) in workloads(objects) {
        for container in containers(template) {
            let name = text(container, "/name");
            let is_set = |pointer| container.pointer(pointer).is_some();
            for (holds, problem) in [
                (is_set("/resources/requests/cpu"), "has no CPU request"),
                (is_set("/resources/requests/memory"), "has no memory request"),
                (is_set("/resources/limits/memory"), "has no memory limit"),
                (!is_set("/resources/limits/cpu"), "has a CPU limit"),
            ] {
                if !holds {
                    findings.push(Finding::new(object, format!("container {name} {problem}")));
                }
            }
        }
    }
    findings
}

/// Finds Secrets with content, and private keys.
#[must_use]
pub fn secrets(objects: &[Value]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for object in objects {
        let has_data = ["data", "stringData"]
            .iter()
            .any(|field| object.get(field).is_some());
        if objects::kind(object) == "Secret" && has_data {
            findings.push(Finding::new(object, "is a Secret with content"));
        }
        if object.to_string().contains("PRIVATE KEY-----") {
            findings.push(Finding::new(object, "contains a private key"));
        }
    }
    findings
}
