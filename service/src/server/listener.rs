//! A listening socket, with or without TLS.

use std::io;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::tls::Terminator;

/// The clients that may wait until the server accepts their connection. The kernel limits it to `net.core.somaxconn`. The
/// default of the runtime is 128, and further clients of a burst would wait for 1 s and more.
const BACKLOG: u32 = 4096;

/// A listening socket.
#[derive(Debug)]
pub(super) struct Listener {
    socket: TcpListener,
    /// The same socket, to empty its backlog at the end.
    backlog: std::net::TcpListener,
    /// Starts TLS on its connections. `None` without TLS.
    tls: Option<Terminator>,
}

/// An accepted connection.
pub(super) struct Accepted {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    /// Starts TLS on the connection.
    pub(super) tls: Option<Terminator>,
}

impl Listener {
    /// Listens on an address. `variable` is the setting to change if that is not possible.
    pub(super) fn bind(address: SocketAddr, variable: &str, tls: Option<Terminator>) -> Result<Self> {
        let listen = || {
            let socket = if address.is_ipv4() {
                TcpSocket::new_v4()
            } else {
                TcpSocket::new_v6()
            }?;
            // A restart must not wait for connections of the previous process in the state TIME_WAIT.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            let socket = socket.listen(BACKLOG)?.into_std()?;
            let backlog = socket.try_clone()?;
            let socket = TcpListener::from_std(socket)?;
            Ok::<_, io::Error>(Self { socket, backlog, tls })
        };
        listen().with_context(|| {
            format!("cannot listen on {address}: set {variable} to a free address of this machine")
        })
    }

    /// The bound address.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Accepts the next connection.
    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        let (stream, peer) = self.socket.accept().await?;
        Ok(self.accepted(stream, peer))
    }

    /// Accepts a connection that waits in the backlog. Asks the socket directly: the runtime may not know the connection yet.
    pub(super) fn accept_waiting(&self) -> Option<io::Result<Accepted>> {
        let (stream, peer) = self.backlog.accept().ok()?;
        let stream = stream
            .set_nonblocking(true)
            .and_then(|()| TcpStream::from_std(stream));
        Some(stream.map(|stream| self.accepted(stream, peer)))
    }

    fn accepted(&self, stream: TcpStream, peer: SocketAddr) -> Accepted {
        // Responses are small and complete. Nagle's algorithm would only delay them.
        stream.set_nodelay(true).ok();
        Accepted {
            stream,
            peer,
            tls: self.tls.clone(),
        }
    }
}
