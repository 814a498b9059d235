//! `cargo xtask cluster …` and `cargo xtask k …`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Subcommand};
use testbed::nodes::cpu_millis;
use testbed::{cluster, network_policy, nodes};

use crate::nodes::{NodeAction, ZoneAction};

#[derive(Subcommand)]
pub(crate) enum Action {
    /// Start the cluster, unless it is up and healthy
    Up(Shape),
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
    /// Print a log: init, containerd, kubelet, kubeadm, node-manager, registry, nodes/NAME/kubelet
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
    /// Start the registry of the cluster, from which its nodes pull: `cargo xtask images --push 127.0.0.1:5005`. It stops with the cluster
    Registry,
    /// Enforce network policies, until the cluster stops
    NetworkPolicy,
    /// Prepare the cluster for the manifests of Karpenter: build it, import its image, define its kinds
    Karpenter,
    /// Add, remove and list nodes
    #[command(subcommand)]
    Node(NodeAction),
    /// Let a zone fail, and restore it
    #[command(subcommand)]
    Zone(ZoneAction),
    /// The first process of the cluster's namespaces
    #[command(hide = true)]
    Init {
        #[arg(long, value_parser = cpu_millis)]
        control_plane_cpu: Option<u64>,
    },
    /// The owner of the added nodes
    #[command(hide = true)]
    NodeManager,
    /// The first process of the namespaces of an added node
    #[command(hide = true)]
    InitNode { name: String, number: u8 },
}

/// The nodes of a cluster. A running cluster gets the nodes that it does not have.
#[derive(Args, Clone)]
pub(crate) struct Shape {
    /// The number of nodes. Added nodes are real ones in namespaces of their own: node-2, node-3, …
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=20))]
    nodes: u8,
    /// The number of zones, to which the nodes are assigned in turn
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=3))]
    zones: u8,
    /// The type of the added nodes: small, medium, large. The default is medium for new nodes
    #[arg(long = "type", value_name = "TYPE")]
    instance_type: Option<String>,
    /// The CPU time that the first node offers to pods: `1400m`. The default is the whole machine
    #[arg(long, value_name = "CPU", value_parser = cpu_millis)]
    control_plane_cpu: Option<u64>,
}

impl Shape {
    /// Starts the cluster, and adds its other nodes.
    pub(crate) fn start(&self) -> Result<()> {
        let instance_type = self.instance_type.as_deref();
        instance_type.map(nodes::instance_type).transpose()?;
        // Another `cluster up` must not add the same nodes.
        let _lock = cluster::up(self.control_plane_cpu)?;
        nodes::commands::complete(self.nodes, self.zones, instance_type)
    }
}

pub(crate) fn run(action: Action) -> Result<ExitCode> {
    match action {
        Action::Up(shape) => shape.start()?,
        Action::Down => cluster::down()?,
        Action::Exec { command } => return cluster::exec(&command).map(exit_code),
        Action::Kubeconfig => println!("{}", testbed::paths::kubeconfig().display()),
        Action::Status => cluster::status()?,
        Action::Logs { name } => cluster::logs(&name)?,
        Action::Load { archives } => cluster::load(&archives)?,
        Action::Registry => testbed::registry::start()?,
        Action::NetworkPolicy => network_policy::enforce()?,
        Action::Karpenter => testbed::karpenter::prepare()?,
        Action::Node(action) => action.run()?,
        Action::Zone(action) => action.run()?,
        #[cfg(target_os = "linux")]
        Action::Init { control_plane_cpu } => testbed::init::run(control_plane_cpu)?,
        #[cfg(target_os = "linux")]
        Action::NodeManager => testbed::manager::run()?,
        #[cfg(target_os = "linux")]
        Action::InitNode { name, number } => testbed::init::run_node(&name, number)?,
        #[cfg(not(target_os = "linux"))]
        Action::Init { .. } | Action::NodeManager | Action::InitNode { .. } => {
            anyhow::bail!("the testbed needs Linux")
        }
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
