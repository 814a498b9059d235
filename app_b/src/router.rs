//! All routes of `app_b`.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use service::metrics::KnownRoute;
use service::middleware::{self, Settings};
use service::server::HttpService;

use crate::config::Config;
use crate::handlers::auth;
use crate::state::App;

/// The routes and the methods they answer with 200, so that their metrics exist before the first request.
pub const ROUTES: [KnownRoute; 1] = [KnownRoute {
    path: "/auth",
    methods: &["POST"],
}];

/// The routes with the middleware around them.
pub fn router(app: App, config: &Config) -> impl HttpService + use<> {
    let metrics = app.metrics.http;
    let routes = Router::new().route("/auth", post(auth)).with_state(Arc::new(app));
    // The store has its own deadline, below this one. What is left to wait for is the request's body.
    middleware::apply(
        routes,
        &Settings::new(&config.service, StatusCode::REQUEST_TIMEOUT),
        metrics,
    )
}
