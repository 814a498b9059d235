//! The middleware of both services, as one stack.

mod error_bodies;
mod http_rules;
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
use crate::trace::Tracer;
use error_bodies::ErrorBodiesLayer;
use http_rules::HttpRulesLayer;
use load_shed::LoadShedLayer;
use observe::ObserveLayer;

/// The settings of the middleware.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The value of the header `x-served-by`.
    pub instance_name: HeaderValue,
    /// The time from the head of a request to its response.
    pub request_timeout: Duration,
    /// The status of the response when the request timeout expires. It depends on what the service waits for.
    pub timeout_status: StatusCode,
    /// The largest number of requests in flight.
    pub max_in_flight: usize,
    /// The largest request body, in bytes.
    pub max_body_bytes: usize,
    /// Starts the span of each request.
    pub tracer: Tracer,
}

impl Settings {
    /// Takes the settings from `config`. A host name that is not a valid header value becomes `unknown`.
    #[must_use]
    pub fn new(config: &ServiceConfig, timeout_status: StatusCode, tracer: Tracer) -> Self {
        let unknown = |_| HeaderValue::from_static("unknown");
        Self {
            instance_name: config.instance_name().try_into().unwrap_or_else(unknown),
            request_timeout: config.request_timeout,
            timeout_status,
            max_in_flight: config.max_in_flight,
            max_body_bytes: config.max_body_bytes,
            tracer,
        }
    }
}

/// Wraps the routes in the whole stack, outermost layer first. `metrics` must know each route.
///
/// Call it once per server: each call leaks the instance name and the limit of the log.
pub fn apply(router: Router, settings: &Settings, metrics: HttpMetrics) -> impl HttpService + use<> {
    let (request_timeout, timeout_status) = (settings.request_timeout, settings.timeout_status);
    ServiceBuilder::new()
        // Outermost: adds the request id and x-served-by to every response, counts the final status, and counts
        // requests whose client disconnects.
        .layer(ObserveLayer::new(
            metrics,
            settings.tracer,
            &settings.instance_name,
        ))
        // Adds a text or JSON body to errors, including the errors of the layers below.
        .layer(ErrorBodiesLayer)
        .layer(HttpRulesLayer)
        .map_future(move |response| timeout::within(response, request_timeout, timeout_status))
        .layer(RequestBodyLimitLayer::new(settings.max_body_bytes))
        .layer(LoadShedLayer::new(settings.max_in_flight, metrics))
        // Innermost: all layers above see a response instead of a panic.
        .map_future(respond_to_panics)
        // Builds the route services once instead of for each request.
        .service(router.with_state(()))
}

/// Turns a panic in a handler into a response with status 500, which is logged like any failure. The panic hook has
/// already logged the location.
fn respond_to_panics(
    response: RouteFuture<Infallible>,
) -> impl Future<Output = Result<Response, Infallible>> {
    let internal_error = |_panic| {
        let cause = Cause::from("a handler panicked");
        Ok((StatusCode::INTERNAL_SERVER_ERROR, cause, ()).into_response())
    };
    AssertUnwindSafe(response)
        .catch_unwind()
        .map(move |outcome| outcome.unwrap_or_else(internal_error))
}
