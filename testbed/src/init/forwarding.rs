//! The forwarding of connections from the machine's loopback to the node's address.

use std::time::Duration;

use anyhow::Result;
use tokio::net::{TcpListener, TcpStream};

use super::network::ForwardedPort;
use crate::kubeadm;

/// Forwards the connections of all `ports`. Returns only if a task panics.
pub(super) fn forward(ports: Vec<ForwardedPort>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    runtime.block_on(async {
        let mut tasks = Vec::new();
        for port in ports {
            let listener = TcpListener::from_std(port.listener)?;
            tasks.push(tokio::spawn(accept(listener, port.node_port)));
        }
        for task in tasks {
            task.await?;
        }
        Ok(())
    })
}

async fn accept(listener: TcpListener, node_port: u16) {
    loop {
        let Ok((mut client, _)) = listener.accept().await else {
            // Probably no free file descriptors: wait until a connection closes.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        tokio::spawn(async move {
            // When the node refuses the connection, the client sees its own connection close at once.
            if let Ok(mut node) = TcpStream::connect((kubeadm::NODE_ADDRESS, node_port)).await {
                let _ = client.set_nodelay(true);
                let _ = node.set_nodelay(true);
                let _ = tokio::io::copy_bidirectional(&mut client, &mut node).await;
            }
        });
    }
}
