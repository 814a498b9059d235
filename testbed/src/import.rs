//! The import of image archives into the node's containerd.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::components::hex;
use crate::sandbox::Sandbox;
use crate::{archive, progress};

/// The deadline of one command of containerd. The import of an image takes some seconds.
const DEADLINE: Duration = Duration::from_mins(4);

/// Imports image archives. Skips an archive whose images are on the node.
///
/// Each imported image gets a label with the hash of its archive. The label disappears with the image.
pub(crate) fn import(sandbox: Sandbox, archives: &[PathBuf]) -> Result<()> {
    let on_node = progress::run_within(DEADLINE, ctr_images(sandbox).arg("ls"))?;
    for archive in archives {
        let label = label(archive)?;
        if on_node.contains(&label) {
            continue;
        }
        progress::run_within(DEADLINE, ctr_images(sandbox).arg("import").arg(archive))?;
        // The references are unknown for an archive of another format than docker-archive, so each load imports it again.
        for reference in archive::references(archive).unwrap_or_default() {
            progress::run_within(
                DEADLINE,
                ctr_images(sandbox).args(["label", &normalized(&reference), &label]),
            )?;
        }
    }
    Ok(())
}

fn ctr_images(sandbox: Sandbox) -> Command {
    let mut command = sandbox.enter("ctr");
    command.args(["--namespace=k8s.io", "images"]);
    command
}

fn label(archive: &Path) -> Result<String> {
    let content = fs::read(archive).with_context(|| format!("cannot read {}", archive.display()))?;
    Ok(format!("testbed.archive={}", hex(&Sha256::digest(content))))
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
    use super::normalized;

    #[test]
    fn a_reference_is_completed_as_containerd_does() {
        for (reference, expected) in [
            ("app-a:0123456789ab", "docker.io/library/app-a:0123456789ab"),
            ("team/tool:1", "docker.io/team/tool:1"),
            ("registry.k8s.io/pause:3.10.1", "registry.k8s.io/pause:3.10.1"),
            ("localhost/app-a:1", "localhost/app-a:1"),
            ("localhost:5000/app-a:1", "localhost:5000/app-a:1"),
        ] {
            assert_eq!(normalized(reference), expected);
        }
    }
}
