//! cargo, as the tasks call it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use testbed::{paths, progress};

/// cargo in this workspace. It is killed when this process exits.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = progress::bound_to_this_process("cargo");
    command.current_dir(paths::workspace()).args(arguments);
    remove_package_variables(&mut command);
    command
}

/// Removes the variables by which cargo and nextest tell this program its own package.
///
/// The build script of ring reads variables with these names. With other values cargo would rebuild ring, and
/// everything that depends on it.
pub(crate) fn remove_package_variables(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
}

/// cargo-nextest runs the tests: it records a time for each test and writes JUnit.
pub(crate) const NEXTEST: Tool = Tool {
    name: "cargo-nextest",
    version: "0.9.151",
    features: &["--no-default-features", "--features", "default-no-update"],
    optimised: false,
};

/// cargo-deny checks licences and sources of dependencies. Advisories need a database from the network:
/// run `cargo deny check advisories` where there is one.
pub(crate) const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    features: &["--no-default-features"],
    optimised: false,
};

/// cargo-cyclonedx lists the crates that a program is built from.
pub(crate) const CYCLONEDX: Tool = Tool {
    name: "cargo-cyclonedx",
    version: "0.5.9",
    features: &[],
    optimised: false,
};

/// A program that the tasks install from crates.io, in one pinned version.
pub(crate) struct Tool {
    /// The crate, and its program.
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// Arguments of `cargo install` that select features.
    pub(crate) features: &'static [&'static str],
    /// Whether it is built with optimisation, which takes several times as long.
    pub(crate) optimised: bool,
}

impl Tool {
    /// Where the program is. The folder is outside of `target`, so that every checkout of this user shares it.
    fn folder(&self) -> Result<PathBuf> {
        let cache = match std::env::var_os("XDG_CACHE_HOME") {
            Some(cache) => PathBuf::from(cache),
            None => std::env::home_dir()
                .context("neither XDG_CACHE_HOME nor HOME is set")?
                .join(".cache"),
        };
        Ok(cache
            .join("scaling-on-requests")
            .join(format!("{}-{}", self.name, self.version)))
    }

    /// Installs the program if it is missing, and returns its path.
    ///
    /// # Errors
    /// When the crate cannot be fetched or built.
    pub(crate) fn install(&self) -> Result<PathBuf> {
        let folder = self.folder()?;
        let program = folder.join("bin").join(self.name);
        if !program.exists() {
            progress::step(&format!("install {} {} (once)", self.name, self.version), || {
                self.build(&folder)
            })?;
        }
        Ok(program)
    }

    fn build(&self, folder: &Path) -> Result<()> {
        let mut install = command(&[
            "install",
            "--quiet",
            "--locked",
            self.name,
            "--version",
            self.version,
        ]);
        install
            .args(self.features)
            .args((!self.optimised).then_some("--debug"))
            .arg("--root")
            .arg(folder)
            .arg("--target-dir")
            .arg(paths::target().join("tools"))
            .env("CARGO_PROFILE_DEV_DEBUG", "none");
        progress::run(&mut install).map(drop)
    }
}
