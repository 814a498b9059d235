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

fn readyz_response(readiness: &Readiness) -> (StatusCode, String) {
    let reason = match (readiness.state(), readiness.fault()) {
        (State::Ready, None) => return (StatusCode::OK, "ready\n".to_owned()),
        (State::Ready, Some(fault)) => fault,
        (State::Starting, _) => "starting".to_owned(),
        (State::ShuttingDown, _) => "shutting down".to_owned(),
    };
    (StatusCode::SERVICE_UNAVAILABLE, reason + "\n")
}
