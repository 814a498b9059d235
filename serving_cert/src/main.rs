//! The sidecar's command line. Exit codes: 0 after SIGTERM or a passed check, 1 on failure, 64 on bad configuration.

use anyhow::{Context, Result};
use clap::{Parser, error::ErrorKind};
use serving_cert::{
    config::{Cli, Command, Run},
    files::Files,
    publish::Publisher,
    sidecar::Sidecar,
};
use std::{io::IsTerminal, process::ExitCode, time::Duration};
use time::OffsetDateTime;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// `EX_USAGE` of sysexits.h.
const BAD_CONFIGURATION: u8 = 64;

/// How long the API server may take to answer; then the next round tries again.
const API_TIMEOUT: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing is left to do when not even this can be printed.
            let _ = error.print();
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return ExitCode::from(if asked { 0 } else { BAD_CONFIGURATION });
        }
    };
    let result = match cli.command {
        Command::Check(check) => Files::new(check.directory).check(OffsetDateTime::now_utc()),
        Command::Run(config) => run(&config),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("serving-cert: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn run(config: &Run) -> Result<()> {
    start_logs();
    let mut terminated = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut client_config = kube::Config::infer()
        .await
        .context("no Kubernetes API server to talk to")?;
    client_config.read_timeout = Some(API_TIMEOUT);
    let client = kube::Client::try_from(client_config).context("cannot talk to the Kubernetes API server")?;
    let publisher = Publisher::new(client, &config.api_service, config.identity().common_name());
    let sidecar = Sidecar::new(config, publisher, OffsetDateTime::now_utc())?;
    tokio::select! {
        ended = sidecar.run(config.reconcile_interval) => ended,
        // The files stay: a container that is only restarted takes them up again, and the pod's end removes them.
        _ = terminated.recv() => Ok(()),
    }
}

/// JSON in a container, readable on a terminal; `RUST_LOG` filters. The client's own errors come back and are logged here.
fn start_logs() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,kube_client=off"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter);
    if std::io::stdout().is_terminal() {
        logs.init();
    } else {
        logs.json().flatten_event(true).init();
    }
}
