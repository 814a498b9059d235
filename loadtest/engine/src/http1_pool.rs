//! HTTP/1.1: connections of one stripe to one origin, bounded in number, in age and in idle time, and used in turn.
//!
//! Used in turn, because a Service picks a pod per connection: a pool that prefers its warmest connection would send
//! a whole low-latency load to one pod. Bounded in age, because a pod that was added later only gets traffic from
//! connections that are opened later. The bounds lie below the server's, so that it is this side that closes: a
//! server that closes an idle connection just as a request is sent on it would make a failure out of nothing.

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

/// Bounds of a pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolLimits {
    /// The most connections at a time.
    pub(crate) connections: usize,
    /// A connection unused for this long is closed.
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

/// Counts a connection as open for as long as it exists, whichever way it ends.
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

/// A connection in use by one request. Dropped without [`Lease::release`], the connection is closed.
pub(crate) struct Lease<'pool> {
    connection: Connection,
    pool: &'pool Http1Pool,
    permit: SemaphorePermit<'pool>,
    /// How long opening it took; `None` for a connection that has carried a request before.
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

    /// A connection to send one request on. Opens one while there are fewer than allowed, and otherwise takes the one
    /// that has been idle longest, or waits for one.
    pub(crate) async fn acquire(&self) -> Result<Lease<'_>, Failure> {
        let permit = self.slots.acquire().await.expect("the semaphore is never closed");
        self.close_stale_front();
        // With a permit in hand fewer than all connections are in use, so a full pool has an idle one.
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

    /// Closes idle connections that are past their age or idle time, or that the server has closed.
    pub(crate) fn close_stale(&self) {
        let now = Instant::now();
        self.idle
            .borrow_mut()
            .retain(|connection| connection.is_usable(now, self.limits.max_idle));
    }

    /// The same for those that have waited longest, which are next in turn: cheap enough for every request.
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

    /// How many connections were opened so far.
    pub(crate) fn opened(&self) -> u64 {
        self.dialer.opened()
    }

    /// Boxed where it is called: few requests need it, and all would carry its size.
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
    /// Sends one request. On failure, the error holds the request if none of it was written.
    pub(crate) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>> {
        self.connection.sender.try_send_request(request).await
    }

    /// Closes this connection and opens a fresh one in its place.
    pub(crate) async fn replace(self) -> Result<Lease<'pool>, Failure> {
        let Self {
            connection,
            pool,
            permit,
            ..
        } = self;
        drop(connection);
        Box::pin(pool.open(permit)).await
    }

    /// Makes the connection available to the next request, if the server keeps it open.
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

/// Speaks HTTP/1.1 on an open connection.
async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
) -> hyper::Result<SendRequest<Full<Bytes>>> {
    let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
    // How the connection ends shows in the request that is on it, if there is one.
    tokio::task::spawn_local(async move { drop(driver.await) });
    Ok(sender)
}
