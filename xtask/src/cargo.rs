//! cargo, as the tasks call it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use testbed::{paths, progress};

/// cargo in this workspace. It ends when this process does.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = progress::bound_to_this_process("cargo");
    command.current_dir(paths::workspace()).args(arguments);
    command
}

/// Installs a crate's program below `target/tools` where it is missing or of another version, and says where it is.
///
/// # Errors
/// When it cannot be fetched or built.
pub(crate) fn install(name: &str, version: &str, features: &[&str]) -> Result<PathBuf> {
    let folder = paths::target().join("tools");
    let program = folder.join("bin").join(name);
    let present = Command::new(&program).arg("--version").output();
    if !present.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(version)) {
        progress::step(&format!("install {name} (once)"), || {
            let mut install = command(&["install", "--quiet", "--locked", name, "--version", version]);
            install
                .args(features)
                .arg("--root")
                .arg(&folder)
                .arg("--target-dir")
                .arg(folder.join("build"));
            progress::run(&mut install)
        })?;
    }
    Ok(program)
}
