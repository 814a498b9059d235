//! The tags of the images in the manifests.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use testbed::paths;

use super::image::SERVICES;

/// The files that name tags of images that are built here: those of the services, and that of Karpenter.
pub(super) fn tags_files() -> [PathBuf; 2] {
    ["images", "node-autoscaler/karpenter/testbed/controller"].map(|component| {
        let folder = paths::workspace().join("kubernetes/components").join(component);
        folder.join("kustomization.yaml")
    })
}

/// The tag of an image that is built here, of the present source.
fn current_tag(name: &str) -> Result<Option<String>> {
    if let Some(image) = SERVICES.iter().find(|image| image.name == name) {
        return image.tag().map(Some);
    }
    let karpenter = testbed::images::karpenter()?.reference;
    let (karpenter, tag) = karpenter.split_once(':').context("a tag")?;
    Ok((name == karpenter).then(|| tag.to_owned()))
}

/// The text of a file with tags, with those of the present source.
fn with_current_tags(text: &str) -> Result<String> {
    let mut tag = None;
    let mut lines = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.trim_start().strip_prefix("- name: ") {
            tag = current_tag(name.trim())?;
        }
        match (line.split_once("newTag:"), &tag) {
            (Some((indent, _)), Some(tag)) => lines.push(format!("{indent}newTag: \"{tag}\"")),
            _ => lines.push(line.to_owned()),
        }
    }
    Ok(lines.join("\n") + "\n")
}

/// Writes the tags of the present source into the manifests.
///
/// # Errors
/// When a file cannot be read or written.
pub(crate) fn write_tags() -> Result<()> {
    for file in tags_files() {
        let text = fs::read_to_string(&file)?;
        let current = with_current_tags(&text)?;
        if text != current {
            fs::write(&file, current)?;
            println!("new image tags written to {}", file.display());
        }
    }
    Ok(())
}

/// Checks that the manifests name the tags of the present source.
///
/// # Errors
/// When they name other tags.
pub(crate) fn check_tags() -> Result<()> {
    for file in tags_files() {
        let text = fs::read_to_string(&file)?;
        if text != with_current_tags(&text)? {
            bail!(
                "{} names the tags of an older source: run `cargo xtask images` and commit the file",
                file.display()
            );
        }
    }
    Ok(())
}
