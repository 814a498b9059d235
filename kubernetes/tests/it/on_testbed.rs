//! The overlays for EKS on the testbed: nothing is replaced but what AWS alone has.

use crate::{
    differences::differences,
    rendered::{Overlay, on_eks, overlay},
};
use manifests::{objects::title, render};
use serde_json::Value;
use std::{collections::BTreeSet, fs};

/// The document with the tables that list what differs.
const DOCUMENT: &str = "../docs/delivery.md";

/// The heading of the part with the tables.
const HEADING: &str = "## Dev and prod on the testbed";

/// What differs between an overlay and the same one on the testbed.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    removed: BTreeSet<String>,
    added: BTreeSet<String>,
    /// Values of the other objects: the title of an object, a space, and a JSON pointer.
    changed: BTreeSet<String>,
}

impl Change {
    fn of(original: &[Value], on_testbed: &[Value]) -> Self {
        let titles = |objects: &[Value]| objects.iter().map(stable_title).collect::<BTreeSet<_>>();
        let (before, after) = (titles(original), titles(on_testbed));
        let common = |objects: &[Value]| {
            let mut objects = objects.to_vec();
            objects.retain(|object| {
                let title = stable_title(object);
                before.contains(&title) && after.contains(&title)
            });
            objects
        };
        Self {
            removed: before.difference(&after).cloned().collect(),
            added: after.difference(&before).cloned().collect(),
            changed: differences(&common(original), &common(on_testbed)),
        }
    }

    /// The change that the tables of the document list: each row has what it is in code.
    fn documented() -> Self {
        let path = render::root().join(DOCUMENT);
        let text = fs::read_to_string(&path).expect("readable");
        let (_, part) = text.split_once(HEADING).expect("the heading");
        let part = part.split("\n## ").next().unwrap_or_default();
        let rows = |kind: &str| {
            let rows = part.lines().filter_map(|line| {
                let row = line.strip_prefix(&format!("| {kind} | `"))?;
                Some(row.split('`').next()?.to_owned())
            });
            rows.collect()
        };
        Self {
            removed: rows("removed"),
            added: rows("added"),
            changed: rows("changed"),
        }
    }
}

/// The title of an object, without the hash of a generated name.
fn stable_title(object: &Value) -> String {
    let title = title(object);
    match title.rsplit_once('-') {
        Some((name, hash)) if object["kind"] == "ConfigMap" && hash.len() == 10 => name.to_owned(),
        _ => title,
    }
}

fn on_testbed(original: &Overlay) -> &'static Overlay {
    overlay(&format!("{}-on-testbed", original.name))
}

#[test]
fn only_what_the_document_lists_differs_on_the_testbed() {
    let documented = Change::documented();
    for original in on_eks() {
        let change = Change::of(&original.objects, &on_testbed(original).objects);
        assert_eq!(change, documented, "overlay {}", original.name);
    }
}

/// The sizes, the policies of the pair, and the probes are those of EKS: a change of one of them would be a row of the table.
#[test]
fn another_difference_is_found() {
    let [dev, prod] = on_eks();
    let change = Change::of(&dev.objects, &on_testbed(prod).objects);
    assert_ne!(change, Change::documented());
    let replicas = "HorizontalPodAutoscaler sample-app/app-a /spec/minReplicas";
    assert!(change.changed.contains(replicas), "{change:?}");
}

#[test]
fn nothing_of_aws_is_left() {
    for original in on_eks() {
        let text = serde_json::to_string(&on_testbed(original).objects).expect("JSON");
        for word in [
            "amazonaws.com",
            "karpenter.k8s.aws/",
            "karpenter.k8s.aws\"",
            "alb.ingress",
        ] {
            assert!(!text.contains(word), "overlay {}: {word}", original.name);
        }
    }
}
