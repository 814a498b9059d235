//! Definitions of kinds: files with a `CustomResourceDefinition` each.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::{cluster, progress};

/// The deadline of a request to the API server.
const REQUEST: Duration = Duration::from_mins(1);

/// The files in a folder, sorted by name.
///
/// # Errors
/// When the folder cannot be listed.
pub(crate) fn in_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let listing = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut files: Vec<_> = listing.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.sort();
    Ok(files)
}

/// Applies the definitions on the running cluster, and waits until the API server serves the kinds.
///
/// # Errors
/// When the API server rejects one, or does not serve the kinds within half a minute.
pub fn apply(files: &[PathBuf]) -> Result<()> {
    // On the server: the annotation of an apply on the client would contain the whole definition, which may be too long for it.
    with_files(&["apply", "--server-side", "--force-conflicts"], files)?;
    with_files(&["wait", "--for=condition=Established", "--timeout=30s"], files)
}

/// Deletes the kinds and their objects from the running cluster.
///
/// # Errors
/// When the API server does not answer within a minute.
pub fn delete(files: &[PathBuf]) -> Result<()> {
    with_files(&["delete", "--ignore-not-found"], files)
}

fn with_files(arguments: &[&str], files: &[PathBuf]) -> Result<()> {
    let mut command = cluster::kubectl();
    command.args(arguments);
    for file in files {
        command.arg("--filename").arg(file);
    }
    progress::run_within(REQUEST, &mut command).map(drop)
}
