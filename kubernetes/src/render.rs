//! Renders kustomizations with the pinned kubectl, or with another kustomize.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use testbed::components::{self, Component};

/// Returns the folder of all manifests.
#[must_use]
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the kustomizations in a folder below [`root`], such as `overlays`, sorted by name.
///
/// # Errors
/// If the folder cannot be listed.
pub fn kustomizations(folder: &str) -> Result<Vec<PathBuf>> {
    let folder = root().join(folder);
    let mut kustomizations = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.join("kustomization.yaml").exists() {
            kustomizations.push(path);
        }
    }
    kustomizations.sort();
    Ok(kustomizations)
}

/// Renders a kustomization. Returns its objects in the order of an apply.
///
/// # Errors
/// If kubectl is not available, or if it rejects the kustomization. The message contains its output.
pub fn render(kustomization: &Path) -> Result<Vec<Value>> {
    parse(&yaml(kustomization)?)
}

/// As [`render`], but returns the YAML.
///
/// # Errors
/// As for [`render`].
pub fn yaml(kustomization: &Path) -> Result<String> {
    let kubectl = components::kubectl().context("the pinned kubectl is not available")?;
    run(Command::new(kubectl).arg("kustomize").arg(kustomization))
}

/// Renders a kustomization with a kustomize of [`components::KUSTOMIZE`].
///
/// # Errors
/// If kustomize is not available, or if it rejects the kustomization. The message contains its output.
pub fn render_with(kustomize: Component, kustomization: &Path) -> Result<Vec<Value>> {
    components::build(&[kustomize]).with_context(|| format!("{} is not available", kustomize.name))?;
    parse(&run(Command::new(kustomize.path())
        .arg("build")
        .arg(kustomization))?)
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    ensure!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// Parses the documents of a YAML stream.
///
/// # Errors
/// If the text is not YAML, or if a mapping has a duplicate key.
pub fn parse(yaml: &str) -> Result<Vec<Value>> {
    chain_check::parse(yaml).map_err(anyhow::Error::msg)
}
