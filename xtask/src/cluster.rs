//! `cargo xtask cluster …` and `cargo xtask k …`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Subcommand;
use testbed::cluster;

#[derive(Subcommand)]
pub(crate) enum Action {
    /// Make the cluster, unless it is there and well
    Up,
    /// End it, and leave nothing behind
    Down,
    /// Run a command inside of its namespaces
    Exec {
        /// The command and its arguments
        #[arg(trailing_var_arg = true, required = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Print the path of its kubeconfig, which works from outside
    Kubeconfig,
    /// What is up, and how to reach it
    Status,
    /// Print a log: init, containerd, kubelet, kubeadm
    Logs {
        /// Which one
        #[arg(default_value = "kubelet")]
        name: String,
    },
    /// Bring image archives to the node
    Load {
        /// Archives as `docker save` writes them
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
        Action::Init => anyhow::bail!("only Linux has namespaces"),
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn kubectl(arguments: &[String]) -> Result<ExitCode> {
    // Without it kubectl would look for some other cluster, and find none at localhost:8080.
    ensure!(
        testbed::paths::kubeconfig().exists(),
        "the cluster is not up: `cargo xtask cluster up` makes it"
    );
    let status = cluster::kubectl()
        .args(arguments)
        .status()
        .context("kubectl is not built: cluster up")?;
    Ok(exit_code(status.code().unwrap_or(1)))
}

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
