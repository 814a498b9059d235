//! The suite `lints`: what can be checked without a test.

use std::process::Command;

use anyhow::{Context as _, Result, bail};
use testbed::{paths, progress};

use crate::{cargo, images};

pub(crate) fn run() -> Result<()> {
    check(&["fmt", "--all", "--check"])?;
    images::check_tags()?;
    check(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--locked",
        "--",
        "-D",
        "warnings",
    ])?;
    let deny = cargo::DENY.install()?;
    progress::step("check licences and sources of dependencies", || {
        let mut command = Command::new(&deny);
        command
            .current_dir(paths::workspace())
            .args(["check", "licenses", "bans", "sources"]);
        progress::run(&mut command).map(drop)
    })
}

/// Runs cargo with its output shown.
fn check(arguments: &[&str]) -> Result<()> {
    println!("== cargo {}", arguments.join(" "));
    let status = cargo::command(arguments).status().context("cannot run cargo")?;
    if !status.success() {
        bail!("cargo {} failed: {status}", arguments.join(" "));
    }
    Ok(())
}
