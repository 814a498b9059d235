//! HTTP/1.1: the connections of one stripe to one origin, with limits on their number, age and idle time.
//!
//! - Requests use the connections round-robin: a Service picks a pod per connection, so a pool that prefers the last
//!   used connection would send a low-latency load to one pod.
//! - The age is limited: only new connections reach a new pod.
//! - The limits are below those of the server, so the client closes connections first. Otherwise a server could close
//!   an idle connection while the client sends a request on it, and the report would show a false failure.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
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
        http1::{self, SendRequest},
    },
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Semaphore, SemaphorePermit},
};

use super::{dialer::Dialer, failure::Failure, network::Stream};

/// The limits of a pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolLimits {
    /// The maximum number of open connections.
    pub(crate) connections: usize,
    /// The maximum idle time of a connection.
    pub(crate) max_idle: Duration,
}

pub(crate) struct Http1Pool {
    dialer: Dialer,
    limits: PoolLimits,
    slots: Semaphore,
    idle: RefCell<VecDeque<Connection>>,
    open: Rc<Cell<usize>>,
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    expires: Option<Instant>,
    idle_since: Instant,
    _open: OpenConnectionGuard,
}

impl Connection {
    fn is_usable(&self, now: Instant, max_idle: Duration) -> bool {
        self.sender.is_ready()
            && self.expires.is_none_or(|expires| now < expires)
            && now - self.idle_since < max_idle
    }
}

/// Counts a connection as open while the guard exists.
struct OpenConnectionGuard(Rc<Cell<usize>>);

impl OpenConnectionGuard {
    fn new(open: &Rc<Cell<usize>>) -> Self {
        open.set(open.get() + 1);
        Self(Rc::clone(open))
    }
}

impl Drop for OpenConnectionGuard {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A connection in use by one request. Dropping it without [`Lease::release`] closes the connection.
pub(crate) struct Lease<'pool> {
    connection: Connection,
    pool: &'pool Http1Pool,
    permit: SemaphorePermit<'pool>,
    /// The time to open the connection; `None` for a reused connection.
    pub(crate) connect_time: Option<Duration>,
}

impl Http1Pool {
    pub(crate) fn new(dialer: Dialer, limits: PoolLimits) -> Self {
        Self {
            dialer,
            slots: Semaphore::new(limits.connections),
            limits,
            idle: RefCell::default(),
            open: Rc::default(),
        }
    }

    /// Acquires a connection for one request.
    ///
    /// Opens a connection while the pool is not full. In a full pool, takes the connection with the longest idle time,
    /// or waits for one.
    pub(crate) async fn acquire(&self) -> Result<Lease<'_>, Failure> {
        let permit = self.slots.acquire().await.expect("the semaphore is never closed");
        self.close_stale_front();
        // With this permit, at least one connection is not in use. Therefore a full pool has an idle connection.
        let reused = if self.open.get() < self.limits.connections {
            None
        } else {
            self.idle.borrow_mut().pop_front()
        };
        match reused {
            Some(connection) => Ok(Lease {
                connection,
                pool: self,
                permit,
                connect_time: None,
            }),
            None => Box::pin(self.open(permit)).await,
        }
    }

    /// Closes idle connections that exceeded their age or idle time, or that the server closed.
    pub(crate) fn close_stale(&self) {
        let now = Instant::now();
        self.idle
            .borrow_mut()
            .retain(|connection| connection.is_usable(now, self.limits.max_idle));
    }

    /// Closes stale connections at the front of the queue, which are used next. Cheap enough to call for every request.
    fn close_stale_front(&self) {
        let now = Instant::now();
        let mut idle = self.idle.borrow_mut();
        while idle
            .front()
            .is_some_and(|connection| !connection.is_usable(now, self.limits.max_idle))
        {
            idle.pop_front();
        }
    }

    /// Returns the number of connections opened so far.
    pub(crate) fn opened(&self) -> u64 {
        self.dialer.opened()
    }

    /// Opens a connection. Callers box this future: few requests open a connection, but all would store it.
    async fn open<'pool>(&'pool self, permit: SemaphorePermit<'pool>) -> Result<Lease<'pool>, Failure> {
        let open = OpenConnectionGuard::new(&self.open);
        let started = Instant::now();
        let dialed = self.dialer.dial().await?;
        let sender = match dialed.stream {
            Stream::Plain(stream) => handshake(stream).await,
            Stream::Tls(stream) => handshake(stream).await,
        };
        let sender = sender.map_err(|error| Failure::exchange(&error))?;
        let now = Instant::now();
        let connection = Connection {
            sender,
            expires: dialed.expires,
            idle_since: now,
            _open: open,
        };
        Ok(Lease {
            connection,
            pool: self,
            permit,
            connect_time: Some(now - started),
        })
    }
}

impl<'pool> Lease<'pool> {
    /// Sends one request. The error contains the request if no byte of it was written.
    pub(crate) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>> {
        self.connection.sender.try_send_request(request).await
    }

    /// Closes this connection and opens a new one.
    pub(crate) async fn reconnect(self) -> Result<Lease<'pool>, Failure> {
        let Self {
            connection,
            pool,
            permit,
            ..
        } = self;
        drop(connection);
        Box::pin(pool.open(permit)).await
    }

    /// Returns the connection to the pool, if the server keeps it open.
    pub(crate) async fn release(self) {
        let Self {
            mut connection,
            pool,
            permit,
            ..
        } = self;
        if connection.sender.ready().await.is_ok() {
            connection.idle_since = Instant::now();
            pool.idle.borrow_mut().push_back(connection);
        }
        drop(permit);
    }
}

/// Starts HTTP/1.1 on an open connection.
async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
) -> hyper::Result<SendRequest<Full<Bytes>>> {
    let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
    // An error of the connection is reported by the request in flight, if there is one.
    tokio::task::spawn_local(async move { drop(driver.await) });
    Ok(sender)
}
