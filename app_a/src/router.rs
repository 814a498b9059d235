//! All routes of `app_a`.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};
use service::metrics::KnownRoute;
use service::middleware::{self, Settings};
use service::server::HttpService;

use crate::config::Config;
use crate::handlers::{hello, jobs};
use crate::state::App;

/// The routes and the methods they answer with 200, so that their metrics exist before the first request.
pub const ROUTES: [KnownRoute; 2] = [
    KnownRoute {
        path: "/hello",
        methods: &["GET", "HEAD"],
    },
    KnownRoute {
        path: "/jobs",
        methods: &["POST", "PUT"],
    },
];

/// The routes with the middleware around them.
pub fn router(app: App, config: &Config) -> impl HttpService + use<> {
    let metrics = app.metrics.http;
    let routes = Router::new()
        // The original takes POST only; the delivery stages ask for PUT.
        .route("/jobs", post(jobs).put(jobs))
        .with_state(Arc::new(app))
        // After the state, which it does not need and would take a share of for each request.
        .route("/hello", get(hello));
    // A request here waits for app_b and for nothing else: its body is not read.
    middleware::apply(
        routes,
        &Settings::new(&config.service, StatusCode::GATEWAY_TIMEOUT),
        metrics,
    )
}
