//! The first process of the namespaces of the cluster, and of those of an added node (process 1 of the PID namespace).
//!
//! The cluster, or the node, lives as long as this process. When it exits, for any reason, the kernel kills every other process of
//! the PID namespace. The mounts and the network disappear with the last process.

mod filesystem;
mod forwarding;
mod identity;
mod network;
mod services;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::{cgroup, kubeadm, paths, registry};
use services::Service;

/// Runs until the cluster is stopped.
///
/// The caller must be process 1 of new mount, PID, IPC and UTS namespaces. `cpu_millis`: see [`kubeadm::configuration`].
///
/// # Errors
/// When another cluster of this checkout is running, or a part of the sandbox cannot be set up.
pub fn run(cpu_millis: Option<u64>) -> Result<()> {
    let _lock = identity::take_lock()?;
    identity::exit_with_owner()?;
    services::raise_open_file_limit()?;
    // The forwarded ports must open in the machine's network namespace, before the new one replaces it.
    let ports = network::open_forwarded_ports()?;
    network::enter_new_namespace()?;
    filesystem::mount_all()?;
    network::configure()?;
    cgroup::create().context("cannot create the cgroup")?;
    write_configuration(cpu_millis)?;
    network::write_name_resolution()?;
    services::supervise(
        paths::logs(),
        &[
            Service::Containerd,
            Service::Kubelet,
            Service::NodeManager,
            Service::Registry,
        ],
    )?;
    identity::exit_with_command();
    forwarding::forward(ports)
}

fn write_configuration(cpu_millis: Option<u64>) -> Result<()> {
    let pod_network = kubeadm::pod_network(kubeadm::NODE_NUMBER);
    fs::write("/etc/cni/net.d/10-pods.conflist", pod_network)?;
    fs::write("/etc/kubernetes/containerd.toml", kubeadm::containerd())?;
    let hosts = Path::new(kubeadm::REGISTRIES).join(registry::name());
    fs::create_dir_all(&hosts)?;
    fs::write(hosts.join("hosts.toml"), kubeadm::registry_mirror(registry::PORT))?;
    fs::write(
        "/etc/kubernetes/kubeadm.yaml",
        kubeadm::configuration(cpu_millis)?,
    )?;
    Ok(())
}

/// Runs until the added node `name` is stopped: until its node manager closes the standard input of this process, or kills it.
///
/// The caller must be process 1 of new mount, PID, network, IPC and UTS namespaces, with copies of the mounts of the first node.
///
/// # Errors
/// When a part of the node cannot be set up, or the node manager exits before it has connected the node.
pub fn run_node(name: &str, number: u8) -> Result<()> {
    nix::sys::prctl::set_name(c"init-node")?;
    filesystem::mount_node(&paths::node_state(name))?;
    identity::wait_for_connection()?;
    identity::exit_with_manager();
    network::configure_node(name, number)?;
    services::supervise(paths::node_logs(name), &[Service::Containerd, Service::Kubelet])?;
    loop {
        std::thread::park();
    }
}
