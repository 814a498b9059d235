//! The check of a request for a node, before anything is launched.

use anyhow::{Result, bail, ensure};

use super::{InstanceType, Machine, NewNode, Taint, ZONES, instance_type};
use crate::kubeadm;

/// Returns the instance type of a valid request. The machine is at least as large as the type.
pub(crate) fn check(request: &NewNode) -> Result<InstanceType> {
    let instance_type = check_fields(request)?;
    instance_type.reserved(Machine::read()?)?;
    Ok(instance_type)
}

/// As [`check`], for a machine of any size.
fn check_fields(request: &NewNode) -> Result<InstanceType> {
    check_name(&request.name)?;
    ensure!(
        ZONES.contains(&request.zone.as_str()),
        "no zone {:?}: the zones are {}",
        request.zone,
        ZONES.join(", ")
    );
    for (key, value) in &request.labels {
        ensure!(
            is_permitted(key),
            "label {key:?}: a kubelet may set no such label of kubernetes.io or k8s.io for its own node"
        );
        ensure!(
            is_plain(key) && is_plain(value),
            "label {key}={value}: the characters are a-z A-Z 0-9 . _ - /"
        );
    }
    for Taint { key, value, effect } in &request.taints {
        ensure!(
            !key.is_empty() && is_plain(key) && is_plain(value),
            "taint {key}={value}: the characters are a-z A-Z 0-9 . _ - /"
        );
        let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        ensure!(
            effects.contains(&effect.as_str()),
            "taint {key}: no effect {effect:?}: the effects are {}",
            effects.join(", ")
        );
    }
    instance_type(&request.instance_type)
}

/// Fails unless `name` is a valid name of an added node.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let is_valid = (1..=63).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    ensure!(
        is_valid,
        "name {name:?}: a name has 1 to 63 characters of a-z 0-9 -, and starts and ends with a letter or digit"
    );
    if name == kubeadm::NODE_NAME {
        bail!("name {name:?}: this is the name of the first node");
    }
    Ok(())
}

/// Whether a text is safe in the flags of a kubelet. The API server checks the exact format.
fn is_plain(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte))
}

/// Whether a kubelet may set the label (kubernetes `staging/src/k8s.io/kubelet/pkg/apis/well_known_labels.go`). With another one
/// it exits.
fn is_permitted(key: &str) -> bool {
    const NAMES: [&str; 5] = [
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
    ];
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let is_in = |other: &str| domain == other || domain.ends_with(&format!(".{other}"));
    let is_reserved = is_in("kubernetes.io") || is_in("k8s.io");
    !is_reserved || NAMES.contains(&key) || is_in("kubelet.kubernetes.io") || is_in("node.kubernetes.io")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(change: impl FnOnce(&mut NewNode)) -> String {
        let mut request = NewNode {
            name: "node-2".into(),
            zone: "testbed-b".into(),
            instance_type: "small".into(),
            labels: [
                ("karpenter.sh/nodepool", "default"),
                ("kubernetes.io/arch", "amd64"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
            taints: vec![Taint {
                key: "karpenter.sh/unregistered".into(),
                value: String::new(),
                effect: "NoExecute".into(),
            }],
        };
        change(&mut request);
        check_fields(&request).map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn an_invalid_request_is_answered_with_what_is_valid() {
        assert_eq!(error_of(|_| ()), "");
        for (change, expected) in [
            (
                (|request| request.name = "Node_2".into()) as fn(&mut NewNode),
                "a-z 0-9 -",
            ),
            (|request| request.name = "testbed".into(), "first node"),
            (|request| request.name = "--all".into(), "starts and ends with"),
            (
                |request| request.zone = "eu-west-1a".into(),
                "testbed-a, testbed-b, testbed-c",
            ),
            (
                |request| request.instance_type = "huge".into(),
                "small, medium, large",
            ),
            (
                |request| request.taints[0].effect = "Never".into(),
                "NoSchedule, ",
            ),
            (
                |request| {
                    request
                        .labels
                        .insert("node-role.kubernetes.io/worker".into(), String::new());
                },
                "kubernetes.io",
            ),
            (
                |request| {
                    request.labels.insert("team".into(), "a,b=c".into());
                },
                "characters",
            ),
        ] {
            let error = error_of(change);
            assert!(error.contains(expected), "{expected:?} is missing in {error:?}");
        }
    }
}
