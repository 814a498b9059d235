//! From `main` to a served service: configuration, telemetry, the runtime, and the process' exit code.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::config::{self, Command, Configuration};
use crate::{healthcheck, telemetry};

/// Reads the configuration, starts logging, and runs `serve` until it ends.
///
/// The exit code is 0 after a clean end, 64 for a configuration that cannot be used, 1 for anything else: it could
/// not start, or requests were cut off at the drain deadline.
pub fn run<C: Configuration, F: Future<Output = Result<()>>>(serve: impl FnOnce(C) -> F) -> ExitCode {
    let config = match config::parse::<C>() {
        Ok(config) => config,
        Err(code) => return code,
    };
    if config.command() == Some(&Command::Healthcheck) {
        return healthcheck::run(config.service().admin_listen);
    }
    telemetry::init(config.service());
    match start(serve(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "ended");
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
    // A lookup or a query that still blocks a thread must not hold up the end.
    runtime.shutdown_background();
    outcome
}
