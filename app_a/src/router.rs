//! The router of `app_a`: all routes, and the middleware around them.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};
use service::middleware::{self, Settings};
use service::server::HttpService;

use crate::config::Config;
use crate::handlers::{hello, jobs};
use crate::state::App;

/// Returns the routes with the middleware around them.
pub fn router(app: App, config: &Config) -> impl HttpService + use<> {
    let (metrics, tracer) = (app.metrics.http, app.tracer);
    let routes = Router::new()
        // The original accepts POST only. The delivery stages send PUT.
        .route("/jobs", post(jobs).put(jobs))
        .with_state(Arc::new(app))
        // Added after the state: `hello` does not need the state, and with it each request would clone the `Arc`.
        .route("/hello", get(hello));
    // 504: no handler reads the request body, so a timeout means that app_b did not respond.
    middleware::apply(
        routes,
        &Settings::new(&config.service, StatusCode::GATEWAY_TIMEOUT, tracer),
        metrics,
    )
}
