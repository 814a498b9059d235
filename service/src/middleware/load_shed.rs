//! Answers 503 with Retry-After at once when too many requests are in flight, rather than letting all of them wait.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, Response, StatusCode};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

/// Seconds after which a client may try again: new pods are ready well within a few.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// Adds [`LoadShed`]; all services made by one layer share the limit.
#[derive(Debug, Clone)]
pub(super) struct LoadShedLayer {
    limit: Limit,
}

impl LoadShedLayer {
    pub(super) fn new(max_in_flight: usize) -> Self {
        Self {
            limit: Limit {
                max_in_flight,
                in_flight: Arc::default(),
            },
        }
    }
}

impl<S> Layer<S> for LoadShedLayer {
    type Service = LoadShed<S>;

    fn layer(&self, inner: S) -> LoadShed<S> {
        LoadShed {
            inner,
            limit: self.limit.clone(),
        }
    }
}

#[derive(Debug, Clone)]
struct Limit {
    max_in_flight: usize,
    in_flight: Arc<AtomicUsize>,
}

impl Limit {
    /// A place for one request, given back when it is dropped.
    fn admit(&self) -> Option<Permit> {
        let permit = Permit(Arc::clone(&self.in_flight));
        // The permit of a refused request counts until it is dropped, here.
        (self.in_flight.fetch_add(1, Ordering::Relaxed) < self.max_in_flight).then_some(permit)
    }
}

#[derive(Debug)]
struct Permit(Arc<AtomicUsize>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug, Clone)]
pub(super) struct LoadShed<S> {
    inner: S,
    limit: Limit,
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
        match self.limit.admit() {
            Some(permit) => LoadShedFuture::Admitted {
                inner: self.inner.call(request),
                permit,
            },
            None => LoadShedFuture::Shed,
        }
    }
}

pin_project! {
    #[project = Projected]
    pub(super) enum LoadShedFuture<F> {
        Admitted {
            #[pin]
            inner: F,
            permit: Permit,
        },
        Shed,
    }
}

impl<F: Future<Output = Result<Response<Body>, E>>, E, Body: Default> Future for LoadShedFuture<F> {
    type Output = Result<Response<Body>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            Projected::Admitted { inner, .. } => Poll::Ready(ready!(inner.poll(context))),
            Projected::Shed => {
                let mut response = Response::new(Body::default());
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
                Poll::Ready(Ok(response))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_come_back() {
        let limit = LoadShedLayer::new(2).limit;
        let first = limit.admit();
        let second = limit.admit();
        assert!(first.is_some() && second.is_some());
        assert!(limit.admit().is_none());
        assert!(limit.admit().is_none(), "a refused request takes no place");
        drop(first);
        assert!(limit.admit().is_some());
    }
}
