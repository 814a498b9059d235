//! The routes of the admin listener. The listener is separate, so that probes and scrapes do not count as requests.

use std::net::{IpAddr, SocketAddr};

use axum::extract::DefaultBodyLimit;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::AddExtension;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use prometheus::Registry;
use tower::Layer as _;

use crate::log_filter::{self, Error};
use crate::metrics;
use crate::readiness::{Readiness, State};

/// The largest filter of the log, in bytes.
const MAX_FILTER_BYTES: usize = 4096;

/// The address of the client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Returns the routes `/metrics`, `/livez`, `/readyz` and `/log-level`.
pub(crate) fn router(registry: Registry, readiness: Readiness) -> Router {
    let log_level = get(get_log_level)
        .put(put_log_level)
        .layer(DefaultBodyLimit::max(MAX_FILTER_BYTES));
    Router::new()
        .route("/metrics", get(async move || metrics_response(&registry)))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(async move || readyz_response(&readiness)))
        .route("/log-level", log_level)
}

/// Returns the routes for a connection of this client.
pub(crate) fn for_peer(router: &Router, peer: SocketAddr) -> AddExtension<Router, Peer> {
    Extension(Peer(peer)).layer(router.clone())
}

fn metrics_response(registry: &Registry) -> Response {
    let content_type = HeaderValue::from_static(prometheus::TEXT_FORMAT);
    ([(CONTENT_TYPE, content_type)], metrics::text(registry)).into_response()
}

fn readyz_response(readiness: &Readiness) -> (StatusCode, String) {
    let reason = match (readiness.state(), readiness.fault()) {
        (State::Ready, None) => return (StatusCode::OK, "ready\n".to_owned()),
        (State::Ready, Some(fault)) => fault,
        (State::Starting, None) => "starting".to_owned(),
        (State::Starting, Some(fault)) => format!("starting: {fault}"),
        (State::ShuttingDown, _) => "shutting down".to_owned(),
    };
    (StatusCode::SERVICE_UNAVAILABLE, reason + "\n")
}

async fn get_log_level(Extension(Peer(peer)): Extension<Peer>) -> (StatusCode, String) {
    if !is_loopback(peer.ip()) {
        return forbidden();
    }
    log_level_response(log_filter::current())
}

async fn put_log_level(Extension(Peer(peer)): Extension<Peer>, filter: String) -> (StatusCode, String) {
    if !is_loopback(peer.ip()) {
        return forbidden();
    }
    let filter = filter.trim();
    log_level_response(log_filter::set(filter).map(|()| filter.to_owned()))
}

/// Every pod of the cluster can reach the admin listener. Only a client on this machine, or in the network namespace of this
/// pod, may change the log.
fn is_loopback(peer: IpAddr) -> bool {
    // A listener for IPv6 and IPv4 sees 127.0.0.1 as ::ffff:127.0.0.1.
    peer.to_canonical().is_loopback()
}

fn forbidden() -> (StatusCode, String) {
    let advice = "only from loopback, such as through `kubectl port-forward`\n";
    (StatusCode::FORBIDDEN, advice.to_owned())
}

fn log_level_response(filter: Result<String, Error>) -> (StatusCode, String) {
    match filter {
        Ok(filter) => (StatusCode::OK, filter + "\n"),
        Err(Error::Invalid(reason)) => (StatusCode::BAD_REQUEST, reason + "\n"),
        Err(Error::NoLog) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the log has not started\n".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn only_a_client_on_loopback_reaches_the_log_level() {
        let router = router(Registry::new(), Readiness::default());
        for (peer, is_allowed) in [
            ("127.0.0.1:1", true),
            ("127.8.8.8:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("10.244.0.7:1", false),
            ("[::ffff:10.244.0.7]:1", false),
            ("[fe80::1]:1", false),
            ("0.0.0.0:1", false),
        ] {
            for method in ["GET", "PUT"] {
                let request = Request::builder().method(method).uri("/log-level");
                let request = request.body(Body::from("app_a=loud")).unwrap();
                let service = for_peer(&router, peer.parse().unwrap());
                let status = service.oneshot(request).await.unwrap().status();
                // No log has started in this process, and the filter is invalid.
                let expected = match (is_allowed, method) {
                    (false, _) => StatusCode::FORBIDDEN,
                    (true, "GET") => StatusCode::SERVICE_UNAVAILABLE,
                    (true, _) => StatusCode::BAD_REQUEST,
                };
                assert_eq!(status, expected, "{method} from {peer}");
            }
        }
    }
}
