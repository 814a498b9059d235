//! Adds a body to error responses, in the format that the client accepts. It covers the errors of every layer and
//! handler.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::http::{Method, Request};
use axum::response::{IntoResponse, Response};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::reply::{self, Format};

/// Wraps a service in [`ErrorBodies`].
#[derive(Debug, Clone, Copy)]
pub(super) struct ErrorBodiesLayer;

impl<S> Layer<S> for ErrorBodiesLayer {
    type Service = ErrorBodies<S>;

    fn layer(&self, inner: S) -> ErrorBodies<S> {
        ErrorBodies { inner }
    }
}

/// Replaces the body of each error response.
#[derive(Debug, Clone)]
pub(super) struct ErrorBodies<S> {
    inner: S,
}

impl<S: Service<Request<Body>, Response: IntoResponse>, Body> Service<Request<Body>> for ErrorBodies<S> {
    type Response = Response;
    type Error = S::Error;
    type Future = ErrorBodiesFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let format = Format::preferred(request.headers());
        let is_head = request.method() == Method::HEAD;
        ErrorBodiesFuture {
            inner: self.inner.call(request),
            format,
            is_head,
        }
    }
}

pin_project! {
    pub(super) struct ErrorBodiesFuture<F> {
        #[pin]
        inner: F,
        format: Format,
        is_head: bool,
    }
}

impl<F: Future<Output = Result<R, E>>, R: IntoResponse, E> Future for ErrorBodiesFuture<F> {
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(context))?.into_response();
        Poll::Ready(Ok(reply::with_error_body(response, *this.format, *this.is_head)))
    }
}
