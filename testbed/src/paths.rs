//! Where everything of the testbed lies: below `target/testbed`, and nowhere else. And where this project's own programs and
//! images are.

use std::path::PathBuf;
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

/// Cargo's target directory, which `CARGO_TARGET_DIR` moves; absolute, because it is handed to programs that run in
/// other folders.
#[must_use]
pub fn target() -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    std::path::absolute(&target).unwrap_or(target)
}

/// What outlives a cluster: the built components and their images.
#[must_use]
pub fn cache() -> PathBuf {
    target().join("testbed")
}

/// The components, one file each.
#[must_use]
pub fn binaries() -> PathBuf {
    cache().join("bin")
}

/// The archives of the stand-ins for upstream's images.
#[must_use]
pub fn upstream_images() -> PathBuf {
    cache().join("images")
}

/// The archives of this project's own images.
#[must_use]
pub fn own_images() -> PathBuf {
    target().join("images")
}

/// The target triple of this machine.
///
/// # Errors
/// When `rustc` cannot be asked.
pub fn host() -> Result<String> {
    let version = progress::run(Command::new("rustc").arg("-vV"))?;
    let line = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(line.context("rustc names no host")?.to_owned())
}

/// The programs in this project's own images.
///
/// # Errors
/// When `rustc` cannot be asked for this machine's target, which names their folder.
pub fn own_programs() -> Result<PathBuf> {
    Ok(target().join(host()?).join("release"))
}

/// The state of the running cluster, removed by `down`.
#[must_use]
pub fn state() -> PathBuf {
    cache().join("cluster")
}

/// Logs of the cluster's processes; a new `up` begins them anew, `down` keeps them for a look afterwards.
#[must_use]
pub fn logs() -> PathBuf {
    cache().join("logs")
}

/// The administrator's kubeconfig, which works from outside the cluster's namespaces.
#[must_use]
pub fn kubeconfig() -> PathBuf {
    state().join("kubeconfig")
}

/// Held, and filled with the identity of the first process, for as long as the cluster lives.
#[must_use]
pub fn lock() -> PathBuf {
    cache().join("cluster.lock")
}

/// The environment variable that names a lock file whose holder owns the cluster: where it is set (and not empty) when
/// the cluster is made, the cluster ends as soon as nobody holds that file's exclusive lock any more, whatever ended
/// the holder.
pub const OWNER: &str = "TESTBED_OWNER";

/// The lock file that `cargo xtask test` holds, and names in [`OWNER`], for as long as it runs.
#[must_use]
pub fn owner() -> PathBuf {
    cache().join("owner.lock")
}
