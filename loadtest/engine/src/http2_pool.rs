//! HTTP/2: a few connections with many concurrent requests each.
//!
//! Requests use the connections round-robin, and the age of a connection is limited. `http1_pool` gives the reasons.

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

/// Holds one connection and, after it, its replacements.
struct Slot {
    /// The maximum number of concurrent requests on the connection.
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

/// A stream of a connection, in use by one request.
pub(crate) struct Lease<'pool> {
    sender: SendRequest<Full<Bytes>>,
    pool: &'pool Http2Pool,
    slot: &'pool Slot,
    permit: SemaphorePermit<'pool>,
    /// The time to open the connection; `None` for a reused connection.
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

    /// Acquires a stream on the next connection (round-robin). Opens the connection if it is missing or expired.
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
        // The lock is held while a connection opens, so that waiting requests share the new connection.
        let mut connection = slot.connection.lock().await;
        let started = Instant::now();
        let (sender, connect_time) = match &*connection {
            Some(open) if open.is_usable() => (open.sender.clone(), None),
            _ => {
                // Boxed, so that the future of every request stays small: few requests open a connection.
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
    /// Sends one request. The error contains the request if no byte of it was written.
    pub(crate) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>> {
        self.sender.try_send_request(request).await
    }

    /// Replaces a closed connection with a new one, and keeps the permit for the stream.
    pub(crate) async fn reconnect(self) -> Result<Lease<'pool>, Failure> {
        let Self {
            pool, slot, permit, ..
        } = self;
        pool.lease(slot, permit).await
    }

    /// Releases the stream for the next request.
    pub(crate) fn release(self) {
        drop(self.permit);
    }
}

/// Starts HTTP/2 on an open connection.
async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
) -> hyper::Result<SendRequest<Full<Bytes>>> {
    let (sender, driver) = http2::handshake(LocalExecutor, TokioIo::new(stream)).await?;
    // An error of the connection is reported by the requests in flight.
    spawn_local(async move { drop(driver.await) });
    Ok(sender)
}

/// Runs the tasks of a connection on the current thread.
#[derive(Clone, Copy)]
struct LocalExecutor;

impl<F: Future<Output: 'static> + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}
