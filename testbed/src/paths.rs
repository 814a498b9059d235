//! The paths of the testbed's files. All of them are below `target/testbed`.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::progress;

/// The root of the workspace.
#[must_use]
pub fn workspace() -> PathBuf {
    let crate_directory = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    crate_directory
        .parent()
        .map_or_else(|| crate_directory.clone(), PathBuf::from)
}

/// Cargo's target directory: `CARGO_TARGET_DIR`, or `target` in the workspace.
///
/// The path is absolute, because programs that run in other folders get it.
#[must_use]
pub fn target() -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    std::path::absolute(&target).unwrap_or(target)
}

/// The folder of all files of the testbed. The built components and their images in it outlive a cluster.
#[must_use]
pub fn cache() -> PathBuf {
    target().join("testbed")
}

/// The folder of the components, one file each.
#[must_use]
pub fn binaries() -> PathBuf {
    cache().join("bin")
}

/// The folder of the archives of the images that stand in for upstream's.
#[must_use]
pub fn upstream_images() -> PathBuf {
    cache().join("images")
}

/// The target triple of this machine.
///
/// # Errors
/// When `rustc -vV` fails, or prints no host.
pub fn host() -> Result<String> {
    let version = progress::run(Command::new("rustc").arg("-vV"))?;
    let line = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(line.context("`rustc -vV` prints no host")?.to_owned())
}

/// The folder of the running cluster's state. `cluster down` removes it.
#[must_use]
pub fn state() -> PathBuf {
    cache().join("cluster")
}

/// The folder of the state of all added nodes.
#[must_use]
pub fn nodes_state() -> PathBuf {
    state().join("nodes")
}

/// The folder of the state of the added node `name`. It is removed with the node.
#[must_use]
pub fn node_state(name: &str) -> PathBuf {
    nodes_state().join(name)
}

/// The folder below `state` that replaces the folder `replaced` in a node: `/etc/kubernetes` becomes `etc-kubernetes`.
#[must_use]
pub fn replacement(state: &Path, replaced: &str) -> PathBuf {
    state.join(replaced.trim_start_matches('/').replace('/', "-"))
}

/// The folder of the logs of all added nodes.
#[must_use]
pub fn nodes_logs() -> PathBuf {
    logs().join("nodes")
}

/// The folder of the logs of the added node `name`. The logs outlive the node.
#[must_use]
pub fn node_logs(name: &str) -> PathBuf {
    nodes_logs().join(name)
}

/// The folder of the logs of the cluster's processes. `cluster up` starts new logs, `cluster down` keeps them.
#[must_use]
pub fn logs() -> PathBuf {
    cache().join("logs")
}

/// The administrator's kubeconfig. It works outside the cluster's namespaces.
#[must_use]
pub fn kubeconfig() -> PathBuf {
    state().join("kubeconfig")
}

/// The lock file of the cluster. The cluster's first process holds its lock, and writes its process ID into the file.
#[must_use]
pub fn cluster_lock() -> PathBuf {
    cache().join("cluster.lock")
}

/// The environment variable with the path of a lock file. The process that holds its exclusive lock owns the cluster.
///
/// `cluster up` reads it. Unless it is unset or empty, the cluster stops as soon as no process holds that lock, for
/// whatever reason the owner exited.
pub const OWNER_VARIABLE: &str = "TESTBED_OWNER";

/// The lock file that `cargo xtask test` locks while it runs, and passes in [`OWNER_VARIABLE`].
#[must_use]
pub fn owner_lock() -> PathBuf {
    cache().join("owner.lock")
}

/// Removes a folder with its content. Succeeds if there is none.
pub(crate) fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| folder.display().to_string())
        }
        _ => Ok(()),
    }
}
