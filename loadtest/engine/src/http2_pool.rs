//! HTTP/2: a few connections with many concurrent requests each.
//!
//! Requests use the connections round-robin, and the age of a connection is limited. `http1_pool` gives the reasons. A
//! request without a free stream waits for the first stream that any connection frees, so that no request waits for a
//! slow one while another connection has a free stream.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::Pin,
    rc::Rc,
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
    sync::{Mutex, Notify},
    task::spawn_local,
};

use super::{dialer::Dialer, failure::Failure, network};

pub(crate) struct Http2Pool {
    dialer: Dialer,
    slots: Vec<Slot>,
    /// The maximum number of concurrent requests on a connection.
    streams: usize,
    /// The slot that the next request tries first.
    next: Cell<usize>,
    /// The queue of the requests without a stream. Only the first one holds the lock, and looks for a free stream.
    turn: Mutex<()>,
    /// Wakes the first request of the queue.
    freed: Notify,
}

/// Holds one connection and, after it, its replacements.
#[derive(Default)]
struct Slot {
    streams_in_use: Cell<usize>,
    /// Locked while a connection opens.
    connection: Mutex<Option<Connection>>,
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// Returns the maximum number of streams that the server allows.
    allowed_streams: Box<dyn Fn() -> usize>,
    expires: Option<Instant>,
}

impl Connection {
    fn is_usable(&self) -> bool {
        !self.sender.is_closed() && self.expires.is_none_or(|expires| Instant::now() < expires)
    }
}

/// Counts a stream of a slot as in use while the guard exists.
struct Stream<'pool> {
    pool: &'pool Http2Pool,
    slot: &'pool Slot,
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        self.slot.streams_in_use.set(self.slot.streams_in_use.get() - 1);
        self.pool.freed.notify_one();
    }
}

/// A stream of a connection, in use by one request.
pub(crate) struct Lease<'pool> {
    sender: SendRequest<Full<Bytes>>,
    stream: Stream<'pool>,
    /// The time to open the connection; `None` for a reused connection.
    pub(crate) connect_time: Option<Duration>,
}

impl Http2Pool {
    pub(crate) fn new(dialer: Dialer, connections: usize, streams: usize) -> Self {
        Self {
            dialer,
            slots: std::iter::repeat_with(Slot::default).take(connections).collect(),
            streams,
            next: Cell::new(0),
            turn: Mutex::default(),
            freed: Notify::new(),
        }
    }

    pub(crate) fn opened(&self) -> u64 {
        self.dialer.opened()
    }

    /// Acquires a stream. Opens the connection of the stream if it is missing or expired.
    pub(crate) async fn acquire(&self) -> Result<Lease<'_>, Failure> {
        let turn = self.turn.lock().await;
        let stream = loop {
            match self.take_free_stream() {
                Some(stream) => break stream,
                None => self.freed.notified().await,
            }
        };
        drop(turn);
        self.lease(stream).await
    }

    /// Takes a stream of the next slot that has a free one (round-robin).
    fn take_free_stream(&self) -> Option<Stream<'_>> {
        let count = self.slots.len();
        let first = self.next.get();
        let position = (first..first + count)
            .map(|position| position % count)
            .find(|position| self.has_free_stream(&self.slots[*position]))?;
        self.next.set((position + 1) % count);
        let slot = &self.slots[position];
        slot.streams_in_use.set(slot.streams_in_use.get() + 1);
        Some(Stream { pool: self, slot })
    }

    /// Returns whether the slot has a free stream. A slot whose connection is still opening has none, because another
    /// connection can be ready earlier.
    fn has_free_stream(&self, slot: &Slot) -> bool {
        let Ok(connection) = slot.connection.try_lock() else {
            return false;
        };
        // hyper would queue the requests above the limit of the server.
        let allowed = connection
            .as_ref()
            .map_or(self.streams, |open| (open.allowed_streams)().max(1));
        slot.streams_in_use.get() < self.streams.min(allowed)
    }

    async fn lease<'pool>(&'pool self, stream: Stream<'pool>) -> Result<Lease<'pool>, Failure> {
        let mut connection = stream.slot.connection.lock().await;
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
        if connect_time.is_some() {
            // The other streams of the connection are free now.
            self.freed.notify_one();
        }
        Ok(Lease {
            sender,
            stream,
            connect_time,
        })
    }

    async fn open(&self) -> Result<Connection, Failure> {
        let dialed = self.dialer.dial().await?;
        let opened = match dialed.stream {
            network::Stream::Plain(stream) => handshake(stream).await,
            network::Stream::Tls(stream) => handshake(stream).await,
        };
        let (sender, allowed_streams) = opened.map_err(|error| Failure::exchange(&error))?;
        Ok(Connection {
            sender,
            allowed_streams,
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

    /// Replaces a closed connection with a new one, and keeps the stream.
    pub(crate) async fn reconnect(self) -> Result<Lease<'pool>, Failure> {
        let pool = self.stream.pool;
        let lease = pool.lease(self.stream).await?;
        // The slot was locked while this request waited for the connection that another request opened.
        pool.freed.notify_one();
        Ok(lease)
    }

    /// Releases the stream for the next request.
    pub(crate) fn release(self) {
        drop(self.stream);
    }
}

/// Starts HTTP/2 on an open connection. Also returns a function that returns the number of streams that the server allows.
async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
) -> hyper::Result<(SendRequest<Full<Bytes>>, Box<dyn Fn() -> usize>)> {
    let (sender, driver) = http2::handshake(LocalExecutor, TokioIo::new(stream)).await?;
    let driver = Rc::new(RefCell::new(driver));
    let polled = Rc::clone(&driver);
    // An error of the connection is reported by the requests in flight.
    spawn_local(
        async move { drop(poll_fn(|context| Pin::new(&mut *polled.borrow_mut()).poll(context)).await) },
    );
    let allowed_streams = move || driver.borrow().current_max_send_streams();
    Ok((sender, Box::new(allowed_streams)))
}

/// Runs the tasks of a connection on the current thread.
#[derive(Clone, Copy)]
struct LocalExecutor;

impl<F: Future<Output: 'static> + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}
