//! Answers in a handler's place when the time for the request is over.
//!
//! The timer is made when an answer does not come at once: most do, and making one for each request has all threads
//! compete for what they share. That is why this is not the layer of tower-http, which asks its timer first.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::{Response, StatusCode};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower::{Layer, Service};

/// The time for a request, and the answer when it is over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub(super) timeout: Duration,
    pub(super) status: StatusCode,
}

/// Adds [`Timeout`].
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeoutLayer {
    limit: Limit,
}

impl TimeoutLayer {
    pub(super) fn new(limit: Limit) -> Self {
        Self { limit }
    }
}

impl<S> Layer<S> for TimeoutLayer {
    type Service = Timeout<S>;

    fn layer(&self, inner: S) -> Timeout<S> {
        Timeout {
            inner,
            limit: self.limit,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Timeout<S> {
    inner: S,
    limit: Limit,
}

impl<S, Request, Body> Service<Request> for Timeout<S>
where
    S: Service<Request, Response = Response<Body>>,
    Body: Default,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = TimeoutFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        TimeoutFuture {
            started: Instant::now(),
            inner: self.inner.call(request),
            limit: self.limit,
            timer: None,
        }
    }
}

pin_project! {
    pub(super) struct TimeoutFuture<F> {
        #[pin]
        inner: F,
        limit: Limit,
        started: Instant,
        timer: Option<Pin<Box<Sleep>>>,
    }
}

impl<F: Future<Output = Result<Response<Body>, E>>, E, Body: Default> Future for TimeoutFuture<F> {
    type Output = Result<Response<Body>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(outcome) = this.inner.poll(context) {
            return Poll::Ready(outcome);
        }
        let Limit { timeout, status } = *this.limit;
        let deadline = *this.started + timeout;
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        timer.as_mut().poll(context).map(|()| {
            let mut response = Response::new(Body::default());
            *response.status_mut() = status;
            Ok(response)
        })
    }
}
