//! wrk: a closed loop, which finds how much a server answers at the most.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use nix::unistd::geteuid;
use testbed::progress;

/// The program's name.
pub(super) const PROGRAM: &str = "wrk";

/// Connections of a run, and of the generators that are held beside it.
pub(super) const CONNECTIONS: &str = "64";

/// Installs wrk where it is missing.
///
/// # Errors
/// When it cannot be installed.
pub(super) fn ensure_installed() -> Result<()> {
    let is_there = || Command::new(PROGRAM).arg("-v").output().is_ok();
    if is_there() {
        return Ok(());
    }
    ensure!(
        geteuid().is_root(),
        "wrk is missing: `apt-get install wrk` needs root"
    );
    progress::step("install wrk with apt-get", || {
        let mut install = progress::bound_to_this_process("apt-get");
        install
            .args(["install", "--yes", "--no-install-recommends", PROGRAM])
            .env("DEBIAN_FRONTEND", "noninteractive");
        progress::run(&mut install).map(drop)
    })
    .context("wrk is missing and cannot be installed; `apt-get update` may help")?;
    ensure!(is_there(), "wrk is still missing after apt-get install");
    Ok(())
}

/// Requests per second that the server at `address` answers over one run.
///
/// # Errors
/// When wrk does not run, or an answer is not as it should be.
pub(super) fn requests_per_second(
    mut wrk: Command,
    threads: u32,
    seconds: u32,
    address: &str,
) -> Result<f64> {
    let url = format!("http://{address}/hello");
    wrk.args(["--threads", &threads.to_string()])
        .args(["--connections", CONNECTIONS])
        .args(["--duration", &format!("{seconds}s"), &url]);
    let report = progress::run(&mut wrk)?;
    // wrk says nothing of errors where there are none.
    for trouble in ["Non-2xx", "Socket errors"] {
        ensure!(!report.contains(trouble), "{url} under load:\n{report}");
    }
    let line = report.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    Ok(line.context("wrk reports a rate")?.trim().parse()?)
}
