//! kube-score (<https://github.com/zegl/kube-score>) checks the rendered manifests. This table is the only place with exceptions.

use crate::rendered::OVERLAYS;
use manifests::render;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    io::Write as _,
    process::{Command, Stdio},
};
use testbed::components::{self, KUBE_SCORE};

/// A check that does not apply: its name, the objects (`*` for all), and the reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    (
        "container-ephemeral-storage-request-and-limit",
        "*",
        "the root file system is read-only, and every emptyDir has a size limit: there is nothing else to fill",
    ),
    (
        "container-image-pull-policy",
        "*",
        "a tag is a version or a hash of the source, so it never changes; nodes without a registry cannot pull",
    ),
    (
        "deployment-has-host-podantiaffinity",
        "*",
        "topologySpreadConstraints spread the pods over zones and nodes, also when there are more pods than nodes",
    ),
    (
        "deployment-has-poddisruptionbudget",
        "Deployment headroom",
        "its pods hold room that others may take at any time; a budget would keep a node that holds nothing else",
    ),
    (
        "deployment-replicas",
        "Deployment karpenter",
        "it must run on the one node that the testbed starts with; on EKS its chart runs two",
    ),
    (
        "deployment-strategy",
        "Deployment karpenter",
        "two pods without a leader election must not plan at the same time; its Service only serves metrics",
    ),
    (
        "service-targets-pod",
        "Service karpenter-metrics",
        "on EKS the chart of Karpenter creates the pods",
    ),
    (
        "deployment-replicas",
        "Deployment prometheus",
        "two replicas would hold different samples; the HPAs keep their replicas while one restarts",
    ),
    (
        "deployment-replicas",
        "Deployment prometheus-adapter",
        "it has no state and a rollout keeps it available; the HPAs keep their replicas while it restarts",
    ),
    (
        "service-type",
        "Service app-a",
        "the local overlays have no load balancer",
    ),
    (
        "service-type",
        "Service prometheus",
        "the local overlays show it in a browser; the network policies close the port to other machines",
    ),
];

/// The optional checks that apply. Not those that want requests equal to limits: a pod may use memory up to four times its
/// request, and idle CPU without a limit.
const OPTIONAL_CHECKS: [&str; 2] = ["container-seccomp-profile", "container-ports-check"];

/// The grade of a warning. Grades above it are remarks.
const WARNING: u64 = 5;

/// Scores a kustomization. Returns each finding as check, object and explanation.
fn findings(kustomization: &std::path::Path) -> Vec<(String, String, String)> {
    let yaml = render::yaml(kustomization).expect("rendered");
    let mut child = Command::new(KUBE_SCORE.path())
        .args(["score", "--output-format=json", "--kubernetes-version=v1.35"])
        // A CPU limit would throttle a pod on an idle node. The limit of memory is still required.
        .arg("--ignore-container-cpu-limit")
        .args(OPTIONAL_CHECKS.map(|check| format!("--enable-optional-test={check}")))
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("kube-score starts");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(yaml.as_bytes()).expect("kube-score reads");
    drop(input);
    // The exit code is 1 if there are findings.
    let output = child.wait_with_output().expect("kube-score exits");
    let objects: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(objects.len() > 5, "only {} objects", objects.len());
    let mut found = Vec::new();
    for object in &objects {
        let text = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let title = format!("{} {}", text("/type_meta/kind"), text("/object_meta/name"));
        for check in object["checks"].as_array().into_iter().flatten() {
            let is_finding =
                check["skipped"] == false && check["grade"].as_u64().is_some_and(|grade| grade <= WARNING);
            if is_finding {
                let comments = check["comments"].as_array().into_iter().flatten();
                let summaries: Vec<_> = comments
                    .map(|comment| {
                        let part = |field: &str| comment[field].as_str().unwrap_or_default();
                        format!("{} {}", part("path"), part("summary"))
                    })
                    .collect();
                let id = check["check"]["id"].as_str().unwrap_or_default();
                found.push((id.to_owned(), title.clone(), summaries.join("; ")));
            }
        }
    }
    found
}

#[test]
fn every_finding_of_kube_score_has_a_reason() {
    components::build(&[KUBE_SCORE]).expect("kube-score builds");
    let mut unused: BTreeSet<_> = EXCEPTIONS
        .iter()
        .map(|(check, object, _)| (*check, *object))
        .collect();
    let mut unexpected = BTreeSet::new();
    for overlay in OVERLAYS.iter() {
        for (check, object, explanation) in findings(&overlay.path) {
            let excepted = EXCEPTIONS
                .iter()
                .find(|(of, at, _)| *of == check && (*at == "*" || *at == object));
            match excepted {
                Some((check, object, _)) => {
                    unused.remove(&(*check, *object));
                }
                None => {
                    unexpected.insert(format!("{check}: {object}: {explanation}"));
                }
            }
        }
    }
    let unexpected: Vec<_> = unexpected.into_iter().collect();
    assert!(unexpected.is_empty(), "\n{}", unexpected.join("\n"));
    assert!(unused.is_empty(), "exceptions without a finding: {unused:?}");
}
