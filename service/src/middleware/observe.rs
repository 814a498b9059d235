//! What happens at the door, to each request and whatever answers it: the request's id in and out, the name of who
//! answered, trace and metrics. Counted by route, cancelled requests too; the access log at debug, a failure of ours
//! once, with its cause and the request's id.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Bytes;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderName, HeaderValue, Request, StatusCode};
use axum::response::Response;
use pin_project_lite::pin_project;
use tower::{Layer, Service};
use tracing::{Level, Span};

use crate::metrics::{HttpMetrics, Measured, RequestTimer};
use crate::reply::Cause;
use crate::request_id::{self, X_REQUEST_ID};

const X_SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");

/// Adds [`Observe`].
#[derive(Debug, Clone)]
pub(super) struct ObserveLayer {
    metrics: HttpMetrics,
    instance_name: HeaderValue,
}

impl ObserveLayer {
    pub(super) fn new(metrics: HttpMetrics, instance_name: &HeaderValue) -> Self {
        // Of bytes that live as long as the process, so that a copy for each answer counts no owners.
        let bytes = Bytes::from_static(instance_name.as_bytes().to_vec().leak());
        Self {
            metrics,
            instance_name: HeaderValue::from_maybe_shared(bytes).expect("the bytes are a header's value"),
        }
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe {
            inner,
            metrics: self.metrics,
            instance_name: self.instance_name.clone(),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Observe<S> {
    inner: S,
    metrics: HttpMetrics,
    instance_name: HeaderValue,
}

impl<S: Service<Request<Body>, Response = Response>, Body> Service<Request<Body>> for Observe<S> {
    type Response = Response;
    type Error = S::Error;
    type Future = ObserveFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let timer = self.metrics.start(request.method(), request.uri().path());
        if let Some(secret) = request.headers_mut().get_mut(AUTHORIZATION) {
            // Nothing that prints headers shows this one from here on.
            secret.set_sensitive(true);
        }
        let request_id = request_id::ensure(request.headers_mut());
        // Only from debug on: a span costs more than the whole route to /hello.
        let span = tracing::debug_span!("request", request.id = text(&request_id));
        let entered = span.enter();
        let inner = self.inner.call(request);
        drop(entered);
        let instance_name = self.instance_name.clone();
        ObserveFuture {
            inner,
            span,
            observed: Some(Observed {
                timer,
                request_id,
                instance_name,
            }),
        }
    }
}

pin_project! {
    pub(super) struct ObserveFuture<F> {
        #[pin]
        inner: F,
        span: Span,
        // Dropped with the future when the client goes away, which is what counts the request as cancelled.
        observed: Option<Observed>,
    }
}

struct Observed {
    timer: RequestTimer,
    request_id: HeaderValue,
    instance_name: HeaderValue,
}

impl<F: Future<Output = Result<Response, E>>, E> Future for ObserveFuture<F> {
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.span.in_scope(|| this.inner.poll(context)))?;
        if let Some(observed) = this.observed.take() {
            let measured = observed.timer.finish(response.status());
            log(&response, &observed.request_id, measured);
            let headers = response.headers_mut();
            headers.insert(X_REQUEST_ID, observed.request_id);
            headers.insert(X_SERVED_BY, observed.instance_name);
        }
        Poll::Ready(Ok(response))
    }
}

fn log(response: &Response, request_id: &HeaderValue, measured: Measured) {
    let Measured {
        method,
        route,
        elapsed,
    } = measured;
    let status = response.status();
    if let Some(cause) = response.extensions().get::<Cause>() {
        let (id, code, milliseconds) = (text(request_id), status.as_u16(), elapsed.as_secs_f64() * 1e3);
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(
                request.id = id, http.method = method, http.route = route, http.status = code,
                duration.ms = milliseconds, error = %cause, "failed to answer"
            );
        } else {
            tracing::warn!(
                request.id = id, http.method = method, http.route = route, http.status = code,
                duration.ms = milliseconds, error = %cause, "failed to answer"
            );
        }
    } else if tracing::enabled!(Level::DEBUG) {
        let (id, code, milliseconds) = (text(request_id), status.as_u16(), elapsed.as_secs_f64() * 1e3);
        tracing::debug!(
            request.id = id,
            http.method = method,
            http.route = route,
            http.status = code,
            duration.ms = milliseconds,
            "answered"
        );
    }
}

fn text(request_id: &HeaderValue) -> &str {
    request_id.to_str().unwrap_or_default()
}
