//! The middleware of both services, as one stack.

mod error_bodies;
mod load_shed;
mod observe;
mod timeout;

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::future::RouteFuture;
use futures_util::FutureExt as _;
use tower::ServiceBuilder;
use tower_http::limit::RequestBodyLimitLayer;

use crate::config::ServiceConfig;
use crate::metrics::HttpMetrics;
use crate::reply::Cause;
use crate::server::HttpService;
use error_bodies::ErrorBodiesLayer;
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

/// Puts the whole stack around the routes, outermost first; `metrics` knows each of them. Once for each server, because
/// the name of the instance is then kept for as long as the process lives.
pub fn apply(router: Router, settings: &Settings, metrics: HttpMetrics) -> impl HttpService + use<> {
    let (request_timeout, timeout_status) = (settings.request_timeout, settings.timeout_status);
    ServiceBuilder::new()
        // Request id in and out and x-served-by, on every answer, whoever gave it. Trace and metrics: they see the
        // final status, and a request that is dropped on its way.
        .layer(ObserveLayer::new(metrics, &settings.instance_name))
        // Errors get their text or JSON here, also those of the layers below.
        .layer(ErrorBodiesLayer)
        .map_future(move |answer| timeout::within(answer, request_timeout, timeout_status))
        .layer(RequestBodyLimitLayer::new(settings.max_body_bytes))
        .layer(LoadShedLayer::new(settings.max_in_flight, metrics))
        // Innermost: a panic in a handler is an answer to everything above.
        .map_future(answer_panics)
        // Made into services now, not anew for each request.
        .service(router.with_state(()))
}

/// A panic in a handler becomes an answer, which is logged like any failure; where it was, the panic hook has logged.
fn answer_panics(answer: RouteFuture<Infallible>) -> impl Future<Output = Result<Response, Infallible>> {
    let internal_error = |_panic| {
        let cause = Cause::from("a handler panicked");
        Ok((StatusCode::INTERNAL_SERVER_ERROR, cause, ()).into_response())
    };
    AssertUnwindSafe(answer)
        .catch_unwind()
        .map(move |outcome| outcome.unwrap_or_else(internal_error))
}
