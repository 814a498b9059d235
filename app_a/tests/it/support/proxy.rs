//! A TCP proxy that can be broken in the ways in which a network and a peer break.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What the proxy does to every connection, those that are open included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Passes everything on.
    Forward,
    /// Takes connections and what comes over them, and says nothing.
    Stall,
    /// Takes the request and closes.
    Hang,
    /// Takes the next request and closes, and then passes everything on.
    HangOnce,
    /// Answers with these bytes and closes.
    Say(&'static str),
}

/// A proxy in front of one address.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    mode: watch::Sender<Mode>,
}

impl Proxy {
    pub(crate) async fn start(target: SocketAddr) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), target)
    }

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

    /// Changes the mode. Connections that are open are closed, as with a peer that crashed.
    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn serve(stream: TcpStream, target: SocketAddr, mode: watch::Sender<Mode>) {
    let mut watched = mode.subscribe();
    let now = watched.borrow_and_update().clone();
    tokio::select! {
        _ = handle(stream, target, now, &mode) => {}
        _ = watched.changed() => {}
    }
}

async fn handle(
    mut stream: TcpStream,
    target: SocketAddr,
    now: Mode,
    mode: &watch::Sender<Mode>,
) -> io::Result<()> {
    match now {
        Mode::Forward => {
            let mut peer = TcpStream::connect(target).await?;
            copy_bidirectional(&mut stream, &mut peer).await?;
        }
        Mode::Stall => {
            let mut ignored = [0; 1024];
            while stream.read(&mut ignored).await? > 0 {}
        }
        Mode::Hang => {
            take(&mut stream).await?;
        }
        Mode::HangOnce => {
            take(&mut stream).await?;
            mode.send_replace(Mode::Forward);
        }
        Mode::Say(answer) => {
            take(&mut stream).await?;
            stream.write_all(answer.as_bytes()).await?;
            stream.shutdown().await?;
            // Until the client has read it: closing earlier could reset the connection.
            take(&mut stream).await?;
        }
    }
    Ok(())
}

/// Takes what comes next, or notices the end.
async fn take(stream: &mut TcpStream) -> io::Result<()> {
    stream.read(&mut [0; 4096]).await.map(drop)
}
