//! Renders kustomizations with the pinned kubectl, which is what people apply them with.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The folder of all manifests.
#[must_use]
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every overlay, by name.
///
/// # Errors
/// When the folder cannot be listed.
pub fn overlays() -> Result<Vec<PathBuf>> {
    let folder = root().join("overlays");
    let mut overlays = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.join("kustomization.yaml").exists() {
            overlays.push(path);
        }
    }
    overlays.sort();
    Ok(overlays)
}

/// The objects of one kustomization, in the order in which they are applied.
///
/// # Errors
/// When kubectl cannot be had, or refuses the kustomization; with what it said.
pub fn render(kustomization: &Path) -> Result<Vec<Value>> {
    let kubectl = testbed::components::kubectl().context("no kubectl of the pinned version")?;
    let output = Command::new(kubectl)
        .arg("kustomize")
        .arg(kustomization)
        .output()?;
    ensure!(
        output.status.success(),
        "kubectl kustomize {} failed: {}",
        kustomization.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    parse(&String::from_utf8(output.stdout)?)
}

/// The documents of a YAML stream.
///
/// # Errors
/// When it is not YAML, or twice the same key is in one mapping.
pub fn parse(yaml: &str) -> Result<Vec<Value>> {
    Ok(serde_saphyr::from_multiple(yaml)?)
}
