//! The admin listener's routes. They live on a listener of their own, so that probes and scrapes are no requests.

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::Registry;

use crate::metrics;
use crate::readiness::{Readiness, State};

/// `/metrics`, `/livez` and `/readyz`.
pub fn router(registry: Registry, readiness: Readiness) -> Router {
    Router::new()
        .route("/metrics", get(async move || scrape(&registry)))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(async move || ready(&readiness)))
}

fn scrape(registry: &Registry) -> Response {
    let content_type = HeaderValue::from_static(prometheus::TEXT_FORMAT);
    ([(CONTENT_TYPE, content_type)], metrics::text(registry)).into_response()
}

fn ready(readiness: &Readiness) -> (StatusCode, &'static str) {
    match readiness.state() {
        State::Ready => (StatusCode::OK, "ready\n"),
        State::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        State::Leaving => (StatusCode::SERVICE_UNAVAILABLE, "leaving\n"),
    }
}
