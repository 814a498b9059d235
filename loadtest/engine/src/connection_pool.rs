//! The connection pool of one stripe for one origin, for HTTP/1.1 and HTTP/2.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, client::conn::TrySendError};

use super::{
    failure::Failure,
    http1_pool::{self, Http1Pool},
    http2_pool::{self, Http2Pool},
};

pub(crate) enum ConnectionPool {
    Http1(Http1Pool),
    Http2(Http2Pool),
}

/// An HTTP/1.1 connection or an HTTP/2 stream in use by one request.
///
/// Dropping it without [`Lease::release`] closes the HTTP/1.1 connection or resets the HTTP/2 stream.
pub(crate) enum Lease<'pool> {
    Http1(http1_pool::Lease<'pool>),
    Http2(http2_pool::Lease<'pool>),
}

impl ConnectionPool {
    /// Acquires a connection for one request.
    pub(crate) async fn acquire(&self) -> Result<Lease<'_>, Failure> {
        match self {
            Self::Http1(pool) => pool.acquire().await.map(Lease::Http1),
            Self::Http2(pool) => pool.acquire().await.map(Lease::Http2),
        }
    }

    /// Returns the number of connections opened so far.
    pub(crate) fn opened(&self) -> u64 {
        match self {
            Self::Http1(pool) => pool.opened(),
            Self::Http2(pool) => pool.opened(),
        }
    }

    /// Closes idle connections that must not be used again.
    pub(crate) fn close_stale(&self) {
        match self {
            Self::Http1(pool) => pool.close_stale(),
            Self::Http2(_) => {}
        }
    }
}

impl<'pool> Lease<'pool> {
    /// Returns the time to open the connection; `None` for a reused connection.
    pub(crate) fn connect_time(&self) -> Option<Duration> {
        match self {
            Self::Http1(lease) => lease.connect_time,
            Self::Http2(lease) => lease.connect_time,
        }
    }

    /// Sends one request. The error contains the request if no byte of it was written.
    pub(crate) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>> {
        match self {
            Self::Http1(lease) => lease.send(request).await,
            Self::Http2(lease) => lease.send(request).await,
        }
    }

    /// Replaces a closed connection with a new one.
    pub(crate) async fn reconnect(self) -> Result<Lease<'pool>, Failure> {
        match self {
            Self::Http1(lease) => lease.reconnect().await.map(Self::Http1),
            Self::Http2(lease) => lease.reconnect().await.map(Self::Http2),
        }
    }

    /// Makes the connection available to the next request.
    pub(crate) async fn release(self) {
        match self {
            Self::Http1(lease) => lease.release().await,
            Self::Http2(lease) => lease.release(),
        }
    }
}
