//! `cargo xtask cluster …` and `cargo xtask k …`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Subcommand;
use testbed::cluster;

#[derive(Subcommand)]
pub(crate) enum Action {
    /// Start the cluster, unless it is up and healthy
    Up,
    /// Stop the cluster and remove everything that it left
    Down,
    /// Run a command inside the namespaces of the cluster
    Exec {
        /// The command and its arguments
        #[arg(trailing_var_arg = true, required = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Print the path of the kubeconfig for use outside of the cluster
    Kubeconfig,
    /// Show what is running and how to reach it
    Status,
    /// Print a log: init, containerd, kubelet, kubeadm
    Logs {
        /// The name of the log
        #[arg(default_value = "kubelet")]
        name: String,
    },
    /// Import image archives on the node
    Load {
        /// Archives in the format of `docker save`
        #[arg(required = true)]
        archives: Vec<PathBuf>,
    },
    /// The first process of the cluster's namespaces
    #[command(hide = true)]
    Init,
}

pub(crate) fn run(action: Action) -> Result<ExitCode> {
    match action {
        Action::Up => cluster::up()?,
        Action::Down => cluster::down()?,
        Action::Exec { command } => return cluster::exec(&command).map(exit_code),
        Action::Kubeconfig => println!("{}", testbed::paths::kubeconfig().display()),
        Action::Status => cluster::status()?,
        Action::Logs { name } => cluster::logs(&name)?,
        Action::Load { archives } => cluster::load(&archives)?,
        #[cfg(target_os = "linux")]
        Action::Init => testbed::init::run()?,
        #[cfg(not(target_os = "linux"))]
        Action::Init => anyhow::bail!("the testbed needs Linux"),
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn kubectl(arguments: &[String]) -> Result<ExitCode> {
    // Without a kubeconfig kubectl would try localhost:8080 and print a misleading error.
    ensure!(
        testbed::paths::kubeconfig().exists(),
        "the cluster is not up: start it with `cargo xtask cluster up`"
    );
    let status = cluster::kubectl()
        .args(arguments)
        .status()
        .context("cannot run kubectl: `cargo xtask cluster up` builds it")?;
    Ok(exit_code(status.code().unwrap_or(1)))
}

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
