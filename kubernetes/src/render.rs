//! Renders kustomizations with the pinned kubectl.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Returns the folder of all manifests.
#[must_use]
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the folders of all overlays, sorted by name.
///
/// # Errors
/// If the folder cannot be listed.
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

/// Renders a kustomization. Returns its objects in the order of an apply.
///
/// # Errors
/// If kubectl is not available, or if it rejects the kustomization. The message contains its output.
pub fn render(kustomization: &Path) -> Result<Vec<Value>> {
    let kubectl = testbed::components::kubectl().context("the pinned kubectl is not available")?;
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

/// Parses the documents of a YAML stream.
///
/// # Errors
/// If the text is not YAML, or if a mapping has a duplicate key.
pub fn parse(yaml: &str) -> Result<Vec<Value>> {
    chain_check::parse(yaml).map_err(anyhow::Error::msg)
}
