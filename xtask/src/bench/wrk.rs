//! wrk: a closed-loop generator, which finds the highest throughput of a server.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use testbed::{preflight, progress};

/// The name of the program and of its package.
pub(super) const PROGRAM: &str = "wrk";

/// The connections of each run, of wrk and of the open-loop generators.
pub(super) const CONNECTIONS: &str = "64";

/// The request of a run.
pub(super) struct Request {
    pub(super) path: &'static str,
    /// Arguments of wrk that change the default, `GET` without further headers.
    pub(super) arguments: Vec<String>,
}

impl Request {
    /// `GET /hello`
    pub(super) fn hello() -> Self {
        Self {
            path: "/hello",
            arguments: Vec::new(),
        }
    }
}

/// Installs wrk if it is missing.
///
/// # Errors
/// When the package cannot be installed.
pub(super) fn ensure_installed() -> Result<()> {
    preflight::install(&[(PROGRAM, PROGRAM)], "the benchmark needs it")
}

/// Runs wrk against the server at `address`, and returns the requests per second.
///
/// # Errors
/// When wrk does not run, or reports an error or a status other than 2xx.
pub(super) fn requests_per_second(
    mut wrk: Command,
    threads: u32,
    seconds: u32,
    address: &str,
    request: &Request,
) -> Result<f64> {
    let url = format!("http://{address}{}", request.path);
    wrk.args(["--threads", &threads.to_string()])
        .args(["--connections", CONNECTIONS])
        .args(["--duration", &format!("{seconds}s")])
        .args(&request.arguments)
        .arg(&url);
    let report = progress::run(&mut wrk)?;
    // wrk prints these lines only if there were errors.
    for error in ["Non-2xx", "Socket errors"] {
        ensure!(!report.contains(error), "{url} under load:\n{report}");
    }
    let line = report.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    Ok(line.context("wrk printed no rate")?.trim().parse()?)
}
