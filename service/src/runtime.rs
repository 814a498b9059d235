//! The life of a process, from `main` to its exit: configuration, telemetry, the runtime, and the exit code.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::config::{self, Configuration};
use crate::{console, open_files, telemetry};

/// Reads the configuration, starts logging, and runs `serve` until it completes.
///
/// The exit code is 0 after a graceful shutdown, 64 for a bad configuration, and 1 for every other failure, such as a
/// failed start or requests that were aborted at the drain deadline.
pub fn run<C: Configuration, F: Future<Output = Result<()>>>(serve: impl FnOnce(C) -> F) -> ExitCode {
    let config = match config::parse::<C>() {
        Ok(config) => config,
        Err(code) => return code,
    };
    if let Some(code) = config.run_command() {
        return code;
    }
    let _log = match telemetry::init(config.log()) {
        Ok(log) => log,
        Err(error) => {
            console::error(format_args!("cannot start the log: {error}"));
            return ExitCode::FAILURE;
        }
    };
    open_files::raise_limit();
    match start(serve(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "failed");
            ExitCode::FAILURE
        }
    }
}

fn start(service: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let outcome = runtime.block_on(service);
    // A DNS lookup or a query that still blocks a thread must not delay the exit.
    runtime.shutdown_background();
    outcome
}
