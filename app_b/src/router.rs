//! The router of `app_b`: all routes, and the middleware around them.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::routing::post;
use service::middleware::{self, Settings};
use service::server::HttpService;

use crate::config::Config;
use crate::handlers::auth;
use crate::state::App;

/// Returns the routes with the middleware around them.
pub fn router(app: App, config: &Config) -> impl HttpService + use<> {
    let (metrics, tracer) = (app.metrics.http, app.tracer);
    let routes = Router::new()
        // The middleware limits the body. The limit of axum, 2 MB, does not apply.
        .route("/auth", post(auth).layer(DefaultBodyLimit::disable()))
        .with_state(Arc::new(app));
    // 408: the store has a shorter deadline of its own, so a timeout means that the client did not send its body.
    middleware::apply(
        routes,
        &Settings::new(&config.service, StatusCode::REQUEST_TIMEOUT, tracer),
        metrics,
    )
}
