//! Programs that the tasks need, at pinned versions, below `target/tools`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use testbed::{paths, progress};

/// Installs a crate's program where it is missing or of another version, and says where it is.
///
/// # Errors
/// When it cannot be fetched or built.
pub(crate) fn program(name: &str, version: &str, features: &[&str]) -> Result<PathBuf> {
    let folder = paths::target().join("tools");
    let program = folder.join("bin").join(name);
    let present = Command::new(&program).arg("--version").output();
    if !present.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(version)) {
        progress::step(&format!("install {name} (once)"), || {
            let mut command = progress::bound_to_this_process("cargo");
            command
                .args(["install", "--quiet", "--locked", name, "--version", version])
                .args(features)
                .arg("--root")
                .arg(&folder)
                .arg("--target-dir")
                .arg(folder.join("build"));
            progress::run(&mut command)
        })?;
    }
    Ok(program)
}
