//! Who asked and who answered: `x-request-id` on the request and its answer, `x-served-by` on the answer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::extract::Request;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::request_id::{self, X_REQUEST_ID};

const X_SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");

/// Adds [`Identity`].
#[derive(Debug, Clone)]
pub(super) struct IdentityLayer {
    instance_name: HeaderValue,
}

impl IdentityLayer {
    pub(super) fn new(instance_name: HeaderValue) -> Self {
        Self { instance_name }
    }
}

impl<S> Layer<S> for IdentityLayer {
    type Service = Identity<S>;

    fn layer(&self, inner: S) -> Identity<S> {
        Identity {
            inner,
            instance_name: self.instance_name.clone(),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Identity<S> {
    inner: S,
    instance_name: HeaderValue,
}

impl<S: Service<Request, Response = Response>> Service<Request> for Identity<S> {
    type Response = Response;
    type Error = S::Error;
    type Future = IdentityFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        if let Some(secret) = request.headers_mut().get_mut(AUTHORIZATION) {
            // Nothing that prints headers shows this one from here on.
            secret.set_sensitive(true);
        }
        let request_id = request_id::ensure(request.headers_mut());
        let instance_name = self.instance_name.clone();
        IdentityFuture {
            inner: self.inner.call(request),
            identity: Some((request_id, instance_name)),
        }
    }
}

pin_project! {
    pub(super) struct IdentityFuture<F> {
        #[pin]
        inner: F,
        identity: Option<(HeaderValue, HeaderValue)>,
    }
}

impl<F: Future<Output = Result<Response, E>>, E> Future for IdentityFuture<F> {
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(context))?;
        if let Some((request_id, instance_name)) = this.identity.take() {
            response.headers_mut().insert(X_REQUEST_ID, request_id);
            response.headers_mut().insert(X_SERVED_BY, instance_name);
        }
        Poll::Ready(Ok(response))
    }
}
