//! The network of the cluster: a namespace with one bridge and no uplink, and the ports of the machine that lead into
//! it.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use nix::sched::{CloneFlags, unshare};

use crate::ip::ip;
use crate::{kubeadm, preflight};

/// A port of the machine's loopback whose connections go to the node.
pub(super) struct ForwardedPort {
    /// Listens on the machine's loopback.
    pub(super) listener: TcpListener,
    /// The port on the node's address.
    pub(super) node_port: u16,
}

/// Opens the listeners of [`preflight::FORWARDS`]. They stay in the network namespace of the caller.
pub(super) fn open_forwarded_ports() -> Result<Vec<ForwardedPort>> {
    preflight::FORWARDS
        .into_iter()
        .map(|(port, node_port)| {
            let listener = TcpListener::bind(("127.0.0.1", port))
                .with_context(|| format!("port {port} of 127.0.0.1"))?;
            listener.set_nonblocking(true)?;
            Ok(ForwardedPort { listener, node_port })
        })
        .collect()
}

/// Moves the calling thread, and the threads and processes that it starts from now on, to a new network namespace.
pub(super) fn enter_new_namespace() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("cannot create a network namespace")
}

/// Configures the first node's bridge and routes, and the kernel modules that Services need.
pub(super) fn configure() -> Result<()> {
    nix::unistd::sethostname(kubeadm::NODE_NAME)?;
    ip(&format!("link add {} type bridge", kubeadm::BRIDGE))?;
    load_modules()?;
    configure_device(kubeadm::BRIDGE, kubeadm::NODE_NUMBER)
}

/// Configures the link of an added node, which exists.
pub(super) fn configure_node(name: &str, number: u8) -> Result<()> {
    nix::unistd::sethostname(name)?;
    configure_device(kubeadm::NODE_LINK, number)
}

/// Configures the device that connects a node to the others.
///
/// The default route has no gateway, so a node sends ARP requests for every address. With proxy ARP each node answers for its own pods.
/// Therefore no node needs routes to other nodes' pods.
fn configure_device(device: &str, number: u8) -> Result<()> {
    let address = kubeadm::node_address(number);
    ip("link set lo up")?;
    ip(&format!("address add {address}/24 dev {device}"))?;
    ip(&format!("link set {device} up"))?;
    ip(&format!("route add default dev {device}"))?;
    for (setting, value) in [
        ("ipv4/ip_forward", "1"),
        ("bridge/bridge-nf-call-iptables", "1"),
        (&format!("ipv4/conf/{device}/proxy_arp"), "1"),
        // The default is a random delay of up to 0.8 s.
        (&format!("ipv4/neigh/{device}/proxy_delay"), "0"),
    ] {
        fs::write(format!("/proc/sys/net/{setting}"), value)
            .with_context(|| format!("cannot set {setting}"))?;
    }
    Ok(())
}

/// Loads the missing kernel modules. They stay loaded: other programs of the machine may use them by the time the
/// cluster stops.
fn load_modules() -> Result<()> {
    for module in preflight::missing_modules() {
        eprintln!("modprobe {module}: the module stays loaded on the machine");
        let _ = Command::new("modprobe").arg(module).status();
    }
    let missing = preflight::missing_modules().join(", ");
    if !missing.is_empty() {
        bail!("modprobe failed: the kernel has no {missing}, and no Service works without it");
    }
    Ok(())
}

/// Writes /etc/hosts and /etc/resolv.conf. The cluster has no uplink, so only its own name resolves.
///
/// With an unreachable name server the kubelet would wait 10 seconds for each lookup of its node's name.
pub(super) fn write_name_resolution() -> Result<()> {
    let (address, name) = (kubeadm::NODE_ADDRESS, kubeadm::NODE_NAME);
    fs::write("/etc/hosts", format!("127.0.0.1 localhost\n{address} {name}\n"))?;
    let _ = fs::remove_file("/etc/resolv.conf");
    fs::write("/etc/resolv.conf", format!("nameserver {address}\n"))?;
    Ok(())
}
