//! A TCP proxy that simulates failures of the network and of the peer.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The behaviour of the proxy on each connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Forwards all bytes.
    Forward,
    /// Accepts connections, reads, and sends nothing.
    Stall,
    /// Reads the request, then closes the connection.
    Close,
    /// Reads the next request, then closes the connection. After that, forwards all bytes.
    CloseOnce,
    /// Reads the request, responds with these bytes, then closes the connection.
    Respond(&'static str),
}

/// A proxy for one address.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    mode: watch::Sender<Mode>,
}

impl Proxy {
    /// Starts a proxy on a free port.
    pub(crate) async fn start(target: SocketAddr) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), target)
    }

    /// Starts a proxy on `listener`.
    pub(crate) fn on(listener: TcpListener, target: SocketAddr) -> Self {
        let address = listener.local_addr().unwrap();
        let mode = watch::Sender::new(Mode::Forward);
        let current = mode.clone();
        tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, target, current.clone()));
            }
        });
        Self { address, mode }
    }

    /// Changes the mode. Open connections close, as after a crash of the peer.
    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn serve(stream: TcpStream, target: SocketAddr, mode: watch::Sender<Mode>) {
    let mut watched = mode.subscribe();
    let current = watched.borrow_and_update().clone();
    tokio::select! {
        _ = handle(stream, target, current, &mode) => {}
        _ = watched.changed() => {}
    }
}

async fn handle(
    mut stream: TcpStream,
    target: SocketAddr,
    current: Mode,
    mode: &watch::Sender<Mode>,
) -> io::Result<()> {
    match current {
        Mode::Forward => {
            let mut peer = TcpStream::connect(target).await?;
            copy_bidirectional(&mut stream, &mut peer).await?;
        }
        Mode::Stall => {
            let mut ignored = [0; 1024];
            while stream.read(&mut ignored).await? > 0 {}
        }
        Mode::Close => {
            read_some(&mut stream).await?;
        }
        Mode::CloseOnce => {
            read_some(&mut stream).await?;
            mode.send_replace(Mode::Forward);
        }
        Mode::Respond(response) => {
            read_some(&mut stream).await?;
            stream.write_all(response.as_bytes()).await?;
            stream.shutdown().await?;
            // Wait until the client has read the response: an earlier close could reset the connection.
            read_some(&mut stream).await?;
        }
    }
    Ok(())
}

/// Reads the next bytes, or the end of the stream.
async fn read_some(stream: &mut TcpStream) -> io::Result<()> {
    stream.read(&mut [0; 4096]).await.map(drop)
}
