//! HTTP/2: a few connections, each of which carries many requests at a time. Used in turn and bounded in age, for the
//! reasons that the pool of HTTP/1.1 gives.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::{
        TrySendError,
        http2::{self, SendRequest},
    },
    rt::Executor,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Mutex, Semaphore, SemaphorePermit},
    task::spawn_local,
};

use super::{dialer::Dialer, failure::Failure, network::Stream};

pub(crate) struct Http2Pool {
    dialer: Dialer,
    slots: Vec<Slot>,
    next: Cell<usize>,
}

/// The place of one connection, and of its successors.
struct Slot {
    /// Requests that it may carry at a time.
    streams: Semaphore,
    connection: Mutex<Option<Connection>>,
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    expires: Option<Instant>,
}

impl Connection {
    fn is_usable(&self) -> bool {
        !self.sender.is_closed() && self.expires.is_none_or(|expires| Instant::now() < expires)
    }
}

/// A request's part of a connection.
pub(crate) struct Lease<'pool> {
    sender: SendRequest<Full<Bytes>>,
    pool: &'pool Http2Pool,
    slot: &'pool Slot,
    permit: SemaphorePermit<'pool>,
    /// How long opening the connection took; `None` where it was open already.
    pub(crate) connect_time: Option<Duration>,
}

impl Http2Pool {
    pub(crate) fn new(dialer: Dialer, connections: usize, streams: usize) -> Self {
        let slot = || Slot {
            streams: Semaphore::new(streams),
            connection: Mutex::default(),
        };
        Self {
            dialer,
            slots: std::iter::repeat_with(slot).take(connections).collect(),
            next: Cell::new(0),
        }
    }

    pub(crate) fn opened(&self) -> u64 {
        self.dialer.opened()
    }

    /// Room for one request on the next connection in turn, which is opened if it is not there or has come to its age.
    pub(crate) async fn acquire(&self) -> Result<Lease<'_>, Failure> {
        let position = self.next.get();
        self.next.set((position + 1) % self.slots.len());
        let slot = &self.slots[position];
        let permit = slot
            .streams
            .acquire()
            .await
            .expect("the semaphore is never closed");
        self.lease(slot, permit).await
    }

    async fn lease<'pool>(
        &'pool self,
        slot: &'pool Slot,
        permit: SemaphorePermit<'pool>,
    ) -> Result<Lease<'pool>, Failure> {
        // Held while a connection is being opened, so that those who come meanwhile share it.
        let mut connection = slot.connection.lock().await;
        let started = Instant::now();
        let (sender, connect_time) = match &*connection {
            Some(open) if open.is_usable() => (open.sender.clone(), None),
            _ => {
                // Boxed: few requests need it, and all would carry its size.
                let opened = Box::pin(self.open()).await?;
                let sender = opened.sender.clone();
                *connection = Some(opened);
                (sender, Some(started.elapsed()))
            }
        };
        drop(connection);
        Ok(Lease {
            sender,
            pool: self,
            slot,
            permit,
            connect_time,
        })
    }

    async fn open(&self) -> Result<Connection, Failure> {
        let dialed = self.dialer.dial().await?;
        let sender = match dialed.stream {
            Stream::Plain(stream) => handshake(stream).await,
            Stream::Tls(stream) => handshake(stream).await,
        };
        Ok(Connection {
            sender: sender.map_err(|error| Failure::exchange(&error))?,
            expires: dialed.expires,
        })
    }
}

impl<'pool> Lease<'pool> {
    /// Sends one request. On failure, the error holds the request if none of it was written.
    pub(crate) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>> {
        self.sender.try_send_request(request).await
    }

    /// The same room on the connection that follows one that has closed.
    pub(crate) async fn replace(self) -> Result<Lease<'pool>, Failure> {
        let Self {
            pool, slot, permit, ..
        } = self;
        pool.lease(slot, permit).await
    }

    /// Makes room for the next request.
    pub(crate) fn release(self) {
        drop(self.permit);
    }
}

/// Speaks HTTP/2 on an open connection.
async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
) -> hyper::Result<SendRequest<Full<Bytes>>> {
    let (sender, driver) = http2::handshake(LocalExecutor, TokioIo::new(stream)).await?;
    // How the connection ends shows in the requests that are on it.
    spawn_local(async move { drop(driver.await) });
    Ok(sender)
}

/// Where hyper runs what belongs to a connection.
#[derive(Clone, Copy)]
struct LocalExecutor;

impl<F: Future<Output: 'static> + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}
