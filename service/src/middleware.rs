//! The middleware of both services, as one stack.

mod error_bodies;
mod identity;
mod load_shed;
mod observe;

use std::any::Any;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::TimeoutLayer;

use crate::config::ServiceConfig;
use crate::metrics::HttpMetrics;
use error_bodies::ErrorBodiesLayer;
use identity::IdentityLayer;
use load_shed::LoadShedLayer;
use observe::ObserveLayer;

/// What the middleware needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Goes into `x-served-by`.
    pub instance_name: HeaderValue,
    /// Time from a request's head to its answer.
    pub request_timeout: Duration,
    /// The answer when that time is over: it depends on what the service waits for.
    pub timeout_status: StatusCode,
    /// Requests answered at the same time.
    pub max_in_flight: usize,
    /// Largest request body, in bytes.
    pub max_body_bytes: usize,
}

impl Settings {
    /// The settings of `config`; a host's name that cannot stand in a header becomes `unknown`.
    #[must_use]
    pub fn new(config: &ServiceConfig, timeout_status: StatusCode) -> Self {
        let unknown = |_| HeaderValue::from_static("unknown");
        Self {
            instance_name: config.instance_name().try_into().unwrap_or_else(unknown),
            request_timeout: config.request_timeout,
            timeout_status,
            max_in_flight: config.max_in_flight,
            max_body_bytes: config.max_body_bytes,
        }
    }
}

/// Puts the whole stack around the routes, outermost first.
pub fn apply(router: Router, settings: &Settings, metrics: HttpMetrics) -> Router {
    let stack = ServiceBuilder::new()
        // Request id in and out, and x-served-by: on every answer, whoever gave it.
        .layer(IdentityLayer::new(settings.instance_name.clone()))
        // Trace and metrics: they see the final status, and a request that is dropped on its way.
        .layer(ObserveLayer::new(metrics))
        // Errors get their text or JSON here, also those of the layers below.
        .layer(ErrorBodiesLayer)
        .layer(TimeoutLayer::with_status_code(
            settings.timeout_status,
            settings.request_timeout,
        ))
        .map_response(IntoResponse::into_response)
        .layer(RequestBodyLimitLayer::new(settings.max_body_bytes))
        .layer(LoadShedLayer::new(settings.max_in_flight))
        // Innermost: a panic in a handler is an answer to everything above.
        .layer(CatchPanicLayer::custom(internal_error));
    router.layer(stack)
}

/// The panic itself was logged by the panic hook.
fn internal_error(_panic: Box<dyn Any + Send>) -> Response {
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}
