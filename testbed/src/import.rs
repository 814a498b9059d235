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
                ctr_images(sandbox).args(["label", &archive::normalized(&reference), &label]),
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
