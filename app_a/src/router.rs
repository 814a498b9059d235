//! All routes of `app_a`.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};
use service::metrics::KnownRoute;
use service::middleware::{self, Settings};

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
pub fn router(app: App, config: &Config) -> Router {
    let metrics = app.metrics.http.clone();
    let routes = Router::new()
        .route("/hello", get(hello))
        // The original takes POST only; the delivery stages ask for PUT.
        .route("/jobs", post(jobs).put(jobs))
        .with_state(app);
    // A request here waits for app_b and for nothing else: its body is not read.
    middleware::apply(
        routes,
        &Settings::new(&config.service, StatusCode::GATEWAY_TIMEOUT),
        metrics,
    )
}
