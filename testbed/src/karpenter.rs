//! Karpenter, which adds and removes nodes: its image, and the definitions of its kinds.

use std::path::PathBuf;

use anyhow::Result;

use crate::{cluster, components, definitions, images, paths, progress};

/// The files with the definitions of the kinds that Karpenter reads: its own, which its Go module contains, and the class of the
/// testbed's nodes.
///
/// # Errors
/// When Go can neither find nor download the module, or its folder cannot be listed.
pub fn definitions() -> Result<Vec<PathBuf>> {
    let upstream = components::upstream_source("karpenter", "sigs.k8s.io/karpenter")?;
    let mut files = definitions::in_folder(&upstream.join("pkg/apis/crds"))?;
    files.extend(definitions::in_folder(
        &paths::workspace().join("testbed/go/karpenter/crds"),
    )?);
    Ok(files)
}

/// Prepares the running cluster for the manifests of Karpenter: builds Karpenter and imports its image on the first node, where it
/// runs, and defines its kinds.
///
/// The definitions come before the manifests, because kubectl cannot apply a definition and an object of that kind in one command.
///
/// # Errors
/// When the cluster is not up, or a step fails: the message contains the end of its output.
pub fn prepare() -> Result<()> {
    components::build(&[components::KARPENTER])?;
    let image = images::karpenter()?;
    progress::step(&format!("import {}", image.reference), || {
        image.write_if_stale()?;
        cluster::load(&[image.archive()])
    })?;
    progress::step("define the kinds of Karpenter", || {
        definitions::apply(&definitions()?)
    })
}
