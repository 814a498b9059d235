//! Responds 503 with `Retry-After` at once when too many requests are in flight. Otherwise all of them would wait.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, Response, StatusCode};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::metrics::HttpMetrics;

/// Seconds after which a client may retry. New pods become ready within a few seconds.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// Wraps a service in [`LoadShed`].
#[derive(Debug, Clone, Copy)]
pub(super) struct LoadShedLayer {
    max_in_flight: usize,
    metrics: HttpMetrics,
}

impl LoadShedLayer {
    /// Reads the number of requests in flight from `metrics`. The layer that updates `metrics` must therefore be
    /// outside of this one.
    pub(super) fn new(max_in_flight: usize, metrics: HttpMetrics) -> Self {
        Self {
            max_in_flight,
            metrics,
        }
    }

    /// Whether the limit admits a request, which already counts as in flight. May briefly over-reject, never
    /// over-admit: requests being rejected still count.
    fn admits(self) -> bool {
        usize::try_from(self.metrics.in_flight()).is_ok_and(|in_flight| in_flight <= self.max_in_flight)
    }
}

impl<S> Layer<S> for LoadShedLayer {
    type Service = LoadShed<S>;

    fn layer(&self, inner: S) -> LoadShed<S> {
        LoadShed { inner, limit: *self }
    }
}

/// Rejects requests above the limit.
#[derive(Debug, Clone)]
pub(super) struct LoadShed<S> {
    inner: S,
    limit: LoadShedLayer,
}

impl<S, Request, Body> Service<Request> for LoadShed<S>
where
    S: Service<Request, Response = Response<Body>>,
    Body: Default,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = LoadShedFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if self.limit.admits() {
            LoadShedFuture::Admitted {
                inner: self.inner.call(request),
            }
        } else {
            LoadShedFuture::Shed
        }
    }
}

pin_project! {
    #[project = Projected]
    pub(super) enum LoadShedFuture<F> {
        Admitted {
            #[pin]
            inner: F,
        },
        Shed,
    }
}

impl<F: Future<Output = Result<Response<Body>, E>>, E, Body: Default> Future for LoadShedFuture<F> {
    type Output = Result<Response<Body>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            Projected::Admitted { inner } => inner.poll(context),
            Projected::Shed => {
                let mut response = Response::new(Body::default());
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
                Poll::Ready(Ok(response))
            }
        }
    }
}
