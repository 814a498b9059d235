//! The node manager: a process in the namespaces of the first node that owns the added nodes.
//!
//! It serves the messages of [`crate::nodes`] on a socket, and the images of the first node to the added nodes. Its nodes stop when
//! it exits.

mod api;
mod fleet;
mod instance;
mod registry;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::net::{TcpListener, UnixListener};

use crate::ip::ip;
use crate::kubeadm::{ADDED_NODES, BRIDGE, NODE_ADDRESS, REGISTRY_PORT};
use crate::nodes::{SOCKET, SOCKET_GROUP};
use crate::{cgroup, paths, wait};

/// Serves until the process is killed.
///
/// # Errors
/// When something of an earlier node manager cannot be removed, or an address cannot be bound.
pub fn run() -> Result<()> {
    nix::sys::prctl::set_name(c"node-manager")?;
    remove_leftovers()?;
    let socket = Path::new(SOCKET);
    fs::create_dir_all(socket.parent().context("the socket has no folder")?)?;
    let _ = fs::remove_file(socket);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let images = TcpListener::bind((NODE_ADDRESS, REGISTRY_PORT))
            .await
            .context("the port of the registry")?;
        let listener = UnixListener::bind(socket).context(SOCKET)?;
        chown(socket, None, Some(SOCKET_GROUP)).context(SOCKET)?;
        fs::set_permissions(socket, Permissions::from_mode(0o660))?;
        tokio::try_join!(async { axum::serve(images, registry::router()).await }, async {
            axum::serve(listener, api::router()).await
        })?;
        Ok(())
    })
}

/// Removes the links, cgroups and state of the nodes of a node manager that has exited. Their logs stay.
fn remove_leftovers() -> Result<()> {
    // The nodes stop a moment after their node manager.
    wait::until(
        "the links, cgroups and files of earlier nodes are removed",
        Duration::from_secs(30),
        || {
            for link in node_links(&ip("-brief link")?) {
                ip(&format!("link delete {link}"))?;
            }
            cgroup::remove_nodes().context("cgroup")?;
            paths::remove_folder(&paths::nodes_state())
        },
    )?;
    // New nodes get the addresses of earlier ones, and other hardware addresses.
    ip(&format!("neigh flush dev {BRIDGE}")).map(drop)
}

/// The names of the links of added nodes in the output of `ip -brief link`, which has lines like `node10@if2 UP …`.
fn node_links(listing: &str) -> Vec<&str> {
    let names = listing.lines().filter_map(|line| line.split(['@', ' ']).next());
    names
        .filter(|name| ADDED_NODES.map(instance::link).any(|link| link == **name))
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_links_of_added_nodes_are_found_and_no_other_links() {
        let listing = "lo               UNKNOWN        00:00:00:00:00:00 <LOOPBACK,UP,LOWER_UP> \n\
                       node0            UP             6a:01:02:03:04:05 <BROADCAST,MULTICAST,UP,LOWER_UP> \n\
                       veth1a2b3c4d@if2 UP             6a:01:02:03:04:06 <BROADCAST,MULTICAST,UP,LOWER_UP> \n\
                       node10@if2       UP             6a:01:02:03:04:07 <BROADCAST,MULTICAST,UP,LOWER_UP> \n\
                       node126          DOWN           6a:01:02:03:04:08 <BROADCAST,MULTICAST> \n";
        assert_eq!(super::node_links(listing), ["node10", "node126"]);
    }
}
