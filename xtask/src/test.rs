//! `cargo xtask test`: everything that CI checks, in the order in which a failure is cheapest to learn of.

use std::fs::{self, File};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use testbed::{cluster, paths, preflight, progress, tools};

use crate::{cargo, images};

/// Checks licences and sources of dependencies. Advisories need a database that is fetched from outside,
/// so they are checked where there is a network: `cargo deny check advisories`.
const CARGO_DENY: &str = "0.20.2";

#[derive(Args)]
pub(crate) struct Options {
    /// Leave out what needs a cluster: root, and some 40 minutes. Go stays: it builds kubectl, which renders the manifests
    #[arg(long)]
    no_cluster: bool,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    // Now, because building the tests puts another file in its place, which is as good.
    let xtask = std::env::current_exe().context("the path of this program")?;
    if !options.no_cluster {
        preflight::machine_can()?;
    }
    check("format", &["fmt", "--all", "--check"])?;
    images::check_tags()?;
    check(
        "lints",
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--locked",
            "--",
            "-D",
            "warnings",
        ],
    )?;
    licences()?;
    progress::step("kubectl, for rendering the manifests", || {
        tools::build(&[tools::KUBECTL])
    })?;
    check(
        "unit and integration tests, manifests",
        &["test", "--workspace", "--locked"],
    )?;
    if options.no_cluster {
        println!("all but the cluster's tests passed");
        return Ok(ExitCode::SUCCESS);
    }
    images::build_as_committed()?;
    // Before the tests, so that each step shows its progress, and so that none of them sees the machine change.
    preflight::install_packages()?;
    tools::build(tools::ALL)?;
    // Held for as long as this process lives: every cluster of the tests ends with it, whatever ends it.
    let owner = hold_ownership()?;
    cluster::down()?;
    let mut command = cargo::command(&["test", "--locked", "--package", "e2e", "--features", "cluster"]);
    command
        .args(["--", "--test-threads=1", "--nocapture"])
        .env("XTASK", xtask)
        .env("LOADTEST", images::loadtest()?)
        .env(paths::OWNER, paths::owner())
        // Absolute: cargo runs tests in their package's folder.
        .env("CARGO_TARGET_DIR", paths::target());
    let status = command.status().context("cannot run cargo test")?;
    // The cluster is the tests'; nothing of it outlives them, whatever they found.
    cluster::down()?;
    drop(owner);
    if !status.success() {
        bail!(
            "the tests on the cluster failed; logs of its last processes: {}",
            paths::logs().display()
        );
    }
    println!(
        "everything passed; the scaling, drawn: {}",
        paths::target().join("report").display()
    );
    Ok(ExitCode::SUCCESS)
}

fn hold_ownership() -> Result<File> {
    fs::create_dir_all(paths::cache()).context("cannot create target/testbed")?;
    let owner = File::create(paths::owner())?;
    if owner.try_lock().is_err() {
        bail!("another `cargo xtask test` of this checkout is at work");
    }
    Ok(owner)
}

/// Runs cargo with its output shown.
fn check(name: &str, arguments: &[&str]) -> Result<()> {
    println!("== {name}: cargo {}", arguments.join(" "));
    let status = cargo::command(arguments).status().context("cannot run cargo")?;
    if !status.success() {
        bail!("{name}: cargo {} ended with {status}", arguments.join(" "));
    }
    Ok(())
}

fn licences() -> Result<()> {
    let deny = cargo::install("cargo-deny", CARGO_DENY, &["--no-default-features"])?;
    progress::step("licences and sources of dependencies", || {
        let mut command = Command::new(&deny);
        command
            .current_dir(paths::workspace())
            .args(["check", "licenses", "bans", "sources"]);
        progress::run(&mut command).map(drop)
    })
}
