//! The routes of the admin listener. The listener is separate, so that probes and scrapes do not count as requests.

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::Registry;

use crate::metrics;
use crate::readiness::{Readiness, State};

/// Returns the routes `/metrics`, `/livez` and `/readyz`.
pub fn router(registry: Registry, readiness: Readiness) -> Router {
    Router::new()
        .route("/metrics", get(async move || metrics_response(&registry)))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(async move || readyz_response(&readiness)))
}

fn metrics_response(registry: &Registry) -> Response {
    let content_type = HeaderValue::from_static(prometheus::TEXT_FORMAT);
    ([(CONTENT_TYPE, content_type)], metrics::text(registry)).into_response()
}

fn readyz_response(readiness: &Readiness) -> (StatusCode, &'static str) {
    match readiness.state() {
        State::Ready => (StatusCode::OK, "ready\n"),
        State::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        State::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n"),
    }
}
