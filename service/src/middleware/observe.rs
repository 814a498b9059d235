//! Trace and metrics of each request: counted by matched route, cancelled ones too; the access log at debug, a
//! failure of ours once, with its cause and the request's id.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use pin_project_lite::pin_project;
use tower::{Layer, Service};
use tracing::{Level, Span};

use crate::metrics::{HttpMetrics, Measured, RequestTimer};
use crate::reply::Cause;
use crate::request_id;

/// Adds [`Observe`].
#[derive(Debug, Clone)]
pub(super) struct ObserveLayer {
    metrics: HttpMetrics,
}

impl ObserveLayer {
    pub(super) fn new(metrics: HttpMetrics) -> Self {
        Self { metrics }
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe {
            inner,
            metrics: self.metrics.clone(),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Observe<S> {
    inner: S,
    metrics: HttpMetrics,
}

impl<S: Service<Request, Response = Response>> Service<Request> for Observe<S> {
    type Response = Response;
    type Error = S::Error;
    type Future = ObserveFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        let timer = self.metrics.start(request.method(), route);
        let request_id = request_id::of(request.headers()).cloned();
        // Only from debug on: a span costs more than the whole route to /hello.
        let span = tracing::debug_span!("request", request.id = text(request_id.as_ref()));
        let inner = span.in_scope(|| self.inner.call(request));
        ObserveFuture {
            inner,
            span,
            request: Some((timer, request_id)),
        }
    }
}

pin_project! {
    pub(super) struct ObserveFuture<F> {
        #[pin]
        inner: F,
        span: Span,
        // Dropped with the future when the client goes away, which is what counts the request as cancelled.
        request: Option<(RequestTimer, Option<HeaderValue>)>,
    }
}

impl<F: Future<Output = Result<Response, E>>, E> Future for ObserveFuture<F> {
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.span.in_scope(|| this.inner.poll(context)))?;
        if let Some((timer, request_id)) = this.request.take() {
            let measured = timer.finish(response.status());
            log(&response, request_id.as_ref(), measured);
        }
        Poll::Ready(Ok(response))
    }
}

fn log(response: &Response, request_id: Option<&HeaderValue>, measured: Measured) {
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

fn text(request_id: Option<&HeaderValue>) -> &str {
    request_id.and_then(|id| id.to_str().ok()).unwrap_or_default()
}
