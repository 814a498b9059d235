//! The import of image archives into the node's containerd.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::sandbox::Sandbox;
use crate::{archive, progress};

/// Imports the images that the node does not have yet.
pub(crate) fn import(sandbox: Sandbox, archives: &[PathBuf]) -> Result<()> {
    let listing = progress::run(ctr_images(sandbox).args(["ls", "-q"]))?;
    let on_node: Vec<_> = listing.lines().map(str::trim).collect();
    for archive in archives {
        // ctr reads more formats of archives than `references` does. It also reports a broken archive.
        let references = archive::references(archive).unwrap_or_default();
        if is_on_node(&references, &on_node) {
            eprintln!(
                "  note    the node already has {}: not imported",
                references.join(", ")
            );
            continue;
        }
        progress::run(ctr_images(sandbox).arg("import").arg(archive))?;
    }
    Ok(())
}

fn ctr_images(sandbox: Sandbox) -> Command {
    let mut command = sandbox.enter("ctr");
    command.args(["--namespace=k8s.io", "images"]);
    command
}

/// Whether the node has every image of an archive, so that an import changes nothing.
///
/// `references` are those of the archive, `on_node` are the names that containerd lists. The tags of this project are
/// hashes of the content, so an equal reference means an equal image. This does not hold for `latest` and for a
/// reference without a tag: they are always imported.
fn is_on_node(references: &[String], on_node: &[&str]) -> bool {
    !references.is_empty()
        && references.iter().all(|reference| {
            tag(reference).is_some_and(|tag| tag != "latest")
                && on_node.contains(&normalized(reference).as_str())
        })
}

/// The tag of a reference. `None` for one with a digest: the archive does not say what its tag names.
fn tag(reference: &str) -> Option<&str> {
    let name = reference.rsplit('/').next()?;
    let (_, tag) = name.split_once(':')?;
    (!name.contains('@')).then_some(tag)
}

/// The reference as containerd stores it: with the registry, and with the folder `library` of Docker Hub.
fn normalized(reference: &str) -> String {
    match reference.split_once('/') {
        None => format!("docker.io/library/{reference}"),
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => reference.to_owned(),
        Some(_) => format!("docker.io/{reference}"),
    }
}

#[cfg(test)]
mod tests {
    use super::is_on_node;

    const NODE: [&str; 5] = [
        "docker.io/library/app-a:0123456789ab",
        "docker.io/library/app-b:latest",
        "docker.io/team/tool:1",
        "registry.k8s.io/pause:3.10.1",
        "localhost:5000/app-a",
    ];

    fn on_node(references: &[&str]) -> bool {
        let references: Vec<_> = references
            .iter()
            .map(|reference| (*reference).to_owned())
            .collect();
        is_on_node(&references, &NODE)
    }

    #[test]
    fn an_image_with_a_listed_reference_is_on_the_node() {
        assert!(on_node(&["app-a:0123456789ab"]));
        assert!(on_node(&["docker.io/library/app-a:0123456789ab"]));
        assert!(on_node(&["team/tool:1"]));
        assert!(on_node(&["registry.k8s.io/pause:3.10.1"]));
    }

    #[test]
    fn an_image_with_another_tag_or_name_is_not_on_the_node() {
        assert!(!on_node(&["app-a:ba9876543210"]));
        assert!(!on_node(&["app-a:0123456789a"]));
        assert!(!on_node(&["pause:3.10.1"]));
        assert!(!on_node(&["registry.k8s.io/app-a:0123456789ab"]));
        assert!(!is_on_node(&["app-a:0123456789ab".to_owned()], &[]));
    }

    #[test]
    fn latest_no_tag_and_a_digest_are_always_imported() {
        assert!(!on_node(&["app-b:latest"]));
        assert!(!on_node(&["app-a"]));
        assert!(!on_node(&["localhost:5000/app-a"]));
        assert!(!on_node(&["app-a:0123456789ab@sha256:00"]));
    }

    #[test]
    fn an_archive_is_imported_unless_the_node_has_all_of_its_images() {
        assert!(on_node(&["app-a:0123456789ab", "team/tool:1"]));
        assert!(!on_node(&["app-a:0123456789ab", "team/tool:2"]));
        assert!(!on_node(&[]));
    }
}
