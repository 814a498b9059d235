//! The connections of one stripe to one origin, whichever version of HTTP they speak.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, client::conn::TrySendError};

use super::{
    failure::Failure,
    http2_pool::{self, Http2Pool},
    http1_pool::{self, Http1Pool},
};

pub(crate) enum ConnectionPool {
    Http1(Http1Pool),
    Http2(Http2Pool),
}

/// A connection, or a part of one, in use by one request. Dropped without [`Lease::release`], a connection of HTTP/1.1
/// is closed, and a stream of HTTP/2 reset.
pub(crate) enum Lease<'pool> {
    Http1(http1_pool::Lease<'pool>),
    Http2(http2_pool::Lease<'pool>),
}

impl ConnectionPool {
    /// A connection to send one request on.
    pub(crate) async fn acquire(&self) -> Result<Lease<'_>, Failure> {
        match self {
            Self::Http1(pool) => pool.acquire().await.map(Lease::Http1),
            Self::Http2(pool) => pool.acquire().await.map(Lease::Http2),
        }
    }

    /// How many were opened so far.
    pub(crate) fn opened(&self) -> u64 {
        match self {
            Self::Http1(pool) => pool.opened(),
            Self::Http2(pool) => pool.opened(),
        }
    }

    /// Closes those that nobody uses and nobody should.
    pub(crate) fn close_stale(&self) {
        match self {
            Self::Http1(pool) => pool.close_stale(),
            Self::Http2(_) => {}
        }
    }
}

impl<'pool> Lease<'pool> {
    /// How long opening the connection took; `None` where it was open already.
    pub(crate) fn connect_time(&self) -> Option<Duration> {
        match self {
            Self::Http1(lease) => lease.connect_time,
            Self::Http2(lease) => lease.connect_time,
        }
    }

    /// Sends one request. On failure, the error holds the request if none of it was written.
    pub(crate) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>> {
        match self {
            Self::Http1(lease) => lease.send(request).await,
            Self::Http2(lease) => lease.send(request).await,
        }
    }

    /// A fresh connection in place of one that has closed.
    pub(crate) async fn replace(self) -> Result<Lease<'pool>, Failure> {
        match self {
            Self::Http1(lease) => lease.replace().await.map(Self::Http1),
            Self::Http2(lease) => lease.replace().await.map(Self::Http2),
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
