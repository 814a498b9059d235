//! wrk: a closed loop, which finds how much a server answers at the most.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use testbed::{preflight, progress};

/// The program's name.
pub(super) const PROGRAM: &str = "wrk";

/// Connections of a run, and of the generators that are held beside it.
pub(super) const CONNECTIONS: &str = "64";

/// Installs wrk where it is missing.
///
/// # Errors
/// When it cannot be installed.
pub(super) fn ensure_installed() -> Result<()> {
    preflight::install(&[(PROGRAM, PROGRAM)], "the benchmark needs it")
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
