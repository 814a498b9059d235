//! The outermost layer: request id, trace, `x-served-by`, metrics and log of every request.
//!
//! Metrics count requests by route, including cancelled ones. The access log is at level debug. A request that fails is
//! logged once, with its cause and its id. [`LogLimit`] bounds the log lines of one cause.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Bytes;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderName, HeaderValue, Request, StatusCode};
use axum::response::Response;
use pin_project_lite::pin_project;
use tower::{Layer, Service};
use tracing::Level;

use crate::log_limit::LogLimit;
use crate::metrics::{HttpMetrics, Measurement, RequestTimer};
use crate::reply::Cause;
use crate::request_id::{self, X_REQUEST_ID};
use crate::trace::{Span, TraceContext, Tracer};

const X_SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");

/// Wraps a service in [`Observe`].
#[derive(Debug, Clone)]
pub(super) struct ObserveLayer {
    metrics: HttpMetrics,
    tracer: Tracer,
    instance_name: HeaderValue,
    log_limit: &'static LogLimit,
}

impl ObserveLayer {
    pub(super) fn new(metrics: HttpMetrics, tracer: Tracer, instance_name: &HeaderValue) -> Self {
        // Leaked to avoid reference-count contention: each response clones the value.
        let bytes = Bytes::from_static(instance_name.as_bytes().to_vec().leak());
        Self {
            metrics,
            tracer,
            instance_name: HeaderValue::from_maybe_shared(bytes).expect("the bytes come from a header value"),
            log_limit: Box::leak(Box::default()),
        }
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe {
            inner,
            metrics: self.metrics,
            tracer: self.tracer,
            instance_name: self.instance_name.clone(),
            log_limit: self.log_limit,
        }
    }
}

/// Observes every request and its response.
#[derive(Debug, Clone)]
pub(super) struct Observe<S> {
    inner: S,
    metrics: HttpMetrics,
    tracer: Tracer,
    instance_name: HeaderValue,
    log_limit: &'static LogLimit,
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
            // Debug output of headers omits sensitive values.
            secret.set_sensitive(true);
        }
        let request_id = request_id::ensure(request.headers_mut());
        let span = self
            .tracer
            .request(request.headers(), timer.method(), timer.route());
        let trace = span.context();
        // At level debug only, because a log span costs more than the whole handler of /hello.
        let log_span =
            tracing::debug_span!("request", request.id = text(&request_id), trace.id = %trace.trace_id());
        let entered = log_span.enter();
        let inner = self.inner.call(request);
        drop(entered);
        let instance_name = self.instance_name.clone();
        ObserveFuture {
            inner,
            log_span,
            request: Some(RequestInFlight {
                timer,
                span,
                request_id,
                instance_name,
                log_limit: self.log_limit,
            }),
        }
    }
}

pin_project! {
    pub(super) struct ObserveFuture<F> {
        #[pin]
        inner: F,
        log_span: tracing::Span,
        // When the client disconnects, the future is dropped with the timer in this field, which counts a cancelled request.
        request: Option<RequestInFlight>,
    }
}

/// The part of a request that its response needs.
struct RequestInFlight {
    timer: RequestTimer,
    span: Span,
    request_id: HeaderValue,
    instance_name: HeaderValue,
    log_limit: &'static LogLimit,
}

impl<F: Future<Output = Result<Response, E>>, E> Future for ObserveFuture<F> {
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let entered = this
            .request
            .as_ref()
            .map(|request| request.span.context().enter());
        let polled = this.log_span.in_scope(|| this.inner.poll(context));
        drop(entered);
        let mut response = ready!(polled)?;
        if let Some(request) = this.request.take() {
            let measurement = request.timer.finish(response.status());
            let trace = request.span.context();
            log(
                &response,
                &request.request_id,
                trace,
                measurement,
                request.log_limit,
            );
            request.span.respond(response.status());
            let headers = response.headers_mut();
            headers.insert(X_REQUEST_ID, request.request_id);
            headers.insert(X_SERVED_BY, request.instance_name);
        }
        Poll::Ready(Ok(response))
    }
}

fn log(
    response: &Response,
    request_id: &HeaderValue,
    trace: TraceContext,
    measurement: Measurement,
    log_limit: &'static LogLimit,
) {
    let Measurement {
        method,
        route,
        elapsed,
    } = measurement;
    let status = response.status();
    let cause = response.extensions().get::<Cause>();
    let is_logged = match cause {
        Some(cause) => log_limit.admits(cause.text()),
        None => tracing::enabled!(Level::DEBUG),
    };
    if !is_logged {
        return;
    }
    let (id, code, milliseconds) = (text(request_id), status.as_u16(), elapsed.as_secs_f64() * 1e3);
    match cause {
        Some(cause) if status == StatusCode::INTERNAL_SERVER_ERROR => tracing::error!(
            request.id = id, trace.id = %trace.trace_id(), span.id = %trace.span_id(), http.method = method,
            http.route = route, http.status = code, duration.ms = milliseconds, error = %cause, "request failed"
        ),
        Some(cause) => tracing::warn!(
            request.id = id, trace.id = %trace.trace_id(), span.id = %trace.span_id(), http.method = method,
            http.route = route, http.status = code, duration.ms = milliseconds, error = %cause, "request failed"
        ),
        None => tracing::debug!(
            request.id = id, trace.id = %trace.trace_id(), span.id = %trace.span_id(), http.method = method,
            http.route = route, http.status = code, duration.ms = milliseconds, "request completed"
        ),
    }
}

fn text(request_id: &HeaderValue) -> &str {
    request_id.to_str().unwrap_or_default()
}
