//! The first process of the cluster's namespaces (process 1 of the PID namespace).
//!
//! The cluster lives as long as this process. When it exits, for any reason, the kernel kills every other process of
//! the PID namespace. The mounts and the network disappear with the last process.

mod filesystem;
mod forwarding;
mod identity;
mod network;
mod services;

use std::fs;

use anyhow::{Context as _, Result};

use crate::{cgroup, kubeadm};

/// Runs until the cluster is stopped.
///
/// The caller must be process 1 of new mount, PID, IPC and UTS namespaces.
///
/// # Errors
/// When another cluster of this checkout is running, or a part of the sandbox cannot be set up.
pub fn run() -> Result<()> {
    let _lock = identity::take_lock()?;
    identity::exit_with_owner()?;
    services::raise_open_file_limit()?;
    // The forwarded ports must open in the machine's network namespace, before the new one replaces it.
    let ports = network::open_forwarded_ports()?;
    network::enter_new_namespace()?;
    filesystem::mount_all()?;
    network::configure()?;
    cgroup::create().context("cannot create the cgroup")?;
    write_configuration()?;
    network::write_name_resolution()?;
    services::supervise()?;
    identity::exit_with_command();
    forwarding::forward(ports)
}

fn write_configuration() -> Result<()> {
    fs::write("/etc/cni/net.d/10-pods.conflist", kubeadm::pod_network())?;
    fs::write("/etc/kubernetes/containerd.toml", kubeadm::containerd())?;
    fs::write("/etc/kubernetes/kubeadm.yaml", kubeadm::configuration())?;
    Ok(())
}
