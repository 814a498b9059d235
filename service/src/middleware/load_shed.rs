//! Answers 503 with Retry-After at once when too many requests are in flight, rather than letting all of them wait.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, Response, StatusCode};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::metrics::HttpMetrics;

/// Seconds after which a client may try again: new pods are ready well within a few.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// Adds [`LoadShed`].
#[derive(Debug, Clone, Copy)]
pub(super) struct LoadShedLayer {
    max_in_flight: usize,
    metrics: HttpMetrics,
}

impl LoadShedLayer {
    /// The requests in flight are those that `metrics` counts, so these have to see a request before this layer does.
    pub(super) fn new(max_in_flight: usize, metrics: HttpMetrics) -> Self {
        Self {
            max_in_flight,
            metrics,
        }
    }

    /// Whether there is a place for a request that counts as one in flight already. It never admits one too many; at
    /// the limit it may refuse one too many, since those that are being refused count until they are.
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
