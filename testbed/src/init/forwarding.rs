//! The forwarding of connections from the machine's loopback to the node's address.

use std::cell::Cell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::LocalSet;

use super::network::ForwardedPort;
use crate::kubeadm;

/// Forwards the connections of all `ports`. Returns only if a task panics.
pub(super) fn forward(ports: Vec<ForwardedPort>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    let local_ports = Rc::new(LocalPorts::default());
    LocalSet::new().block_on(&runtime, async {
        let mut tasks = Vec::new();
        for port in ports {
            let listener = TcpListener::from_std(port.listener)?;
            let node = SocketAddr::new(kubeadm::NODE_ADDRESS.parse()?, port.node_port);
            tasks.push(tokio::task::spawn_local(accept(
                listener,
                node,
                Rc::clone(&local_ports),
            )));
        }
        for task in tasks {
            task.await?;
        }
        Ok(())
    })
}

async fn accept(listener: TcpListener, node: SocketAddr, local_ports: Rc<LocalPorts>) {
    loop {
        let Ok((mut client, _)) = listener.accept().await else {
            // Probably no free file descriptors: wait until a connection closes.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let local_ports = Rc::clone(&local_ports);
        tokio::task::spawn_local(async move {
            // When the node refuses the connection, the client sees its own connection close at once.
            if let Ok(mut node) = local_ports.connect(node).await {
                let _ = client.set_nodelay(true);
                let _ = node.set_nodelay(true);
                let _ = tokio::io::copy_bidirectional(&mut client, &mut node).await;
            }
        });
    }
}

/// Chooses the local port of each connection to the node: the one that was not used for the longest time.
///
/// A lost pod leaves entries in the connection tracking of the node, each for 120 s after its last packet. A new connection from the same port
/// would match such an entry, and go to the lost pod. The ports that the kernel chooses repeat earlier: it starts at a random one
/// every 10 s. Many clients have many addresses, but this forwarder has one.
struct LocalPorts {
    next: Cell<u16>,
}

impl LocalPorts {
    /// The ephemeral ports of Linux. Node ports are below.
    const RANGE: RangeInclusive<u16> = 32_768..=60_999;

    fn next(&self) -> u16 {
        let port = self.next.get();
        let following = if port == *Self::RANGE.end() {
            *Self::RANGE.start()
        } else {
            port + 1
        };
        self.next.set(following);
        port
    }

    async fn connect(&self, node: SocketAddr) -> io::Result<TcpStream> {
        for _ in Self::RANGE {
            let socket = TcpSocket::new_v4()?;
            // Permits a port whose last connection is in the state TIME_WAIT.
            socket.set_reuseaddr(true)?;
            let local = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, self.next());
            let stream = match socket.bind(local.into()) {
                Ok(()) => socket.connect(node).await,
                Err(error) => Err(error),
            };
            match stream {
                // A process of the node uses the port, or the port has a connection to the same node port.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable
                    ) => {}
                other => return other,
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }
}

impl Default for LocalPorts {
    fn default() -> Self {
        Self {
            next: Cell::new(*Self::RANGE.start()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_port_repeats_only_after_all_others() {
        let ports = LocalPorts::default();
        let round: Vec<_> = LocalPorts::RANGE.map(|_| ports.next()).collect();
        assert_eq!(round.iter().collect::<BTreeSet<_>>().len(), round.len());
        assert_eq!(ports.next(), round[0]);
    }

    #[tokio::test]
    async fn a_connection_skips_ports_that_are_in_use() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = server.local_addr().unwrap();
        let ports = LocalPorts::default();
        let first = ports.connect(address).await.unwrap();
        let used = first.local_addr().unwrap().port();
        ports.next.set(used);
        let second = ports.connect(address).await.unwrap();
        assert!(second.local_addr().unwrap().port() > used);
    }
}
