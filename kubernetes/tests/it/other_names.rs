//! Overlays of users on top of `overlays/local`: with other names, namespaces, labels and annotations.
//!
//! `overlays.rs` and `chain.rs` check the objects of these examples, too. The tests here check that the examples change the
//! names, and that a wrong overlay causes an error.

use crate::{
    chain::binaries,
    rendered::{Overlay, USER_OVERLAYS},
};
use manifests::{
    chain,
    findings::list,
    objects::{self, name, namespace, of_kind, text},
    render,
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};
use wiring::{Link, ROLLOUTS};

fn example(name: &str) -> &'static Overlay {
    let mut overlays = USER_OVERLAYS.iter();
    overlays
        .find(|overlay| overlay.name == name)
        .unwrap_or_else(|| panic!("no example {name}"))
}

/// Checks the name and the namespace of each Deployment. `expected` gets those of `overlays/local`.
fn expect_deployments(overlay: &Overlay, expected: impl Fn(&str, &str) -> (String, String)) {
    let expected: BTreeSet<_> = ROLLOUTS
        .iter()
        .map(|rollout| expected(rollout.namespace, rollout.deployment))
        .collect();
    let deployments: BTreeSet<_> = of_kind(&overlay.objects, "Deployment")
        .map(|deployment| (namespace(deployment).to_owned(), name(deployment).to_owned()))
        .collect();
    assert_eq!(deployments, expected, "{}", overlay.name);
}

#[test]
fn the_examples_change_names_and_namespaces() {
    let renamed = |name: &str| format!("team-{name}-one");
    expect_deployments(example("other-names"), |namespace, name| {
        (namespace.to_owned(), renamed(name))
    });
    expect_deployments(example("one-namespace"), |_, name| {
        ("team".to_owned(), renamed(name))
    });
    expect_deployments(example("two-namespaces"), |namespace, name| {
        let namespace = if namespace == "sample-app" {
            "team-app"
        } else {
            "team-monitoring"
        };
        (namespace.to_owned(), renamed(name))
    });
    for example in ["one-namespace", "two-namespaces"].map(example) {
        let is_left = |object: &&Value| {
            let refers = |to: &str| object.to_string().contains(&format!("\"namespace\":\"{to}\""));
            refers("sample-app") || refers("monitoring") || namespace(object) == "kube-system"
        };
        let left: Vec<_> = example
            .objects
            .iter()
            .filter(is_left)
            .map(objects::title)
            .collect();
        assert!(left.is_empty(), "{}: not moved: {left:?}", example.name);
    }
}

#[test]
fn the_examples_add_labels_to_selectors_and_annotations_to_pods() {
    for example in ["more-labels", "one-namespace", "two-namespaces"].map(example) {
        for deployment in of_kind(&example.objects, "Deployment") {
            for (field, value) in [
                ("/spec/selector/matchLabels/team", "one"),
                ("/spec/template/metadata/labels/team", "one"),
                (
                    "/spec/template/metadata/annotations/team~1contact",
                    "one@example.com",
                ),
            ] {
                let what = format!("{}: {} {field}", example.name, objects::title(deployment));
                assert_eq!(text(deployment, field), value, "{what}");
            }
        }
    }
}

/// A copy of the manifests, for changes.
struct Copy(tempfile::TempDir);

impl Copy {
    fn new() -> Self {
        let copy = tempfile::tempdir().expect("a folder");
        for folder in ["base", "components", "overlays", "tests/overlays"] {
            copy_folder(&render::root().join(folder), &copy.path().join(folder));
        }
        Self(copy)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn replace(&self, file: &str, from: &str, to: &str) {
        let path = self.path(file);
        let text = fs::read_to_string(&path).expect("readable");
        assert!(text.contains(from), "{file} does not contain {from:?}");
        fs::write(path, text.replace(from, to)).expect("writable");
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

#[test]
fn a_name_that_does_not_follow_is_a_broken_link() {
    let references = "configurations:\n  - name-references.yaml\n";
    for (folders, example, broken_links) in [
        (
            // The adapter is a Deployment, so the references of the base apply to it, too.
            ["base", "components/custom-metrics"].as_slice(),
            "other-names",
            [
                (Link::AdapterRule, "no Service monitoring/prometheus"),
                (
                    Link::Apiservice,
                    "expects team-prometheus-adapter-one.monitoring.svc, the certificate is for",
                ),
            ]
            .as_slice(),
        ),
        (
            &["components/monitoring"],
            "one-namespace",
            &[(Link::PrometheusScrape, "discovers pods in [\"sample-app\"]")],
        ),
        (
            &["components/network-policy"],
            "one-namespace",
            &[(
                Link::PrometheusScrape,
                "NetworkPolicy team/team-prometheus-one lets the pods of Deployment team/team-prometheus-one connect",
            )],
        ),
    ] {
        let copy = Copy::new();
        for folder in folders {
            copy.replace(&format!("{folder}/kustomization.yaml"), references, "");
        }
        let objects = render::render(&copy.path("tests/overlays").join(example)).expect("rendered");
        for (_, metrics) in binaries() {
            let broken = chain::check(&metrics, &objects);
            for (link, reason) in broken_links {
                let is_named = broken
                    .iter()
                    .any(|found| found.link == *link && found.reason.contains(reason));
                assert!(
                    is_named,
                    "{folders:?}: expected {link}: {reason}, found:{}",
                    list(&broken)
                );
            }
        }
    }
}

#[test]
fn the_older_setting_for_labels_gives_the_same_objects() {
    let copy = Copy::new();
    copy.replace(
        "tests/overlays/more-labels/kustomization.yaml",
        "labels:\n  - pairs:\n      team: one\n    includeSelectors: true\n",
        "commonLabels:\n  team: one\n",
    );
    let objects = render::render(&copy.path("tests/overlays/more-labels")).expect("rendered");
    for (older, newer) in objects.iter().zip(&example("more-labels").objects) {
        assert_eq!(older, newer);
    }
}

#[test]
fn an_incomplete_change_of_namespaces_is_rejected() {
    for (fault, lines, message) in [
        (
            "both Namespaces get the same name",
            "namespace: team\n",
            "ID conflict",
        ),
        (
            "no ConfigMap names the namespaces",
            "components:\n  - ../../../components/namespaces\n",
            "ConfigMap.[noVer].[noGrp]/namespaces",
        ),
    ] {
        let copy = Copy::new();
        let folder = copy.path("tests/overlays/rejected");
        fs::create_dir(&folder).expect("a folder");
        let kustomization = format!("resources:\n  - ../../../overlays/local\n{lines}");
        fs::write(folder.join("kustomization.yaml"), kustomization).expect("writable");
        let error = render::render(&folder).expect_err(fault);
        let error = format!("{error:#}");
        assert!(error.contains(message), "{fault}: {error}");
    }
}
