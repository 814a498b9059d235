//! Runs `app_a` and `app_b` in this process.

pub(crate) mod proxy;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use app_b::store::{Lookup, Replaced, TokenHash, User, UserRecord, UserStore};
use clap::Parser;
use service::server::Server;
use service::trace::Tracer;
use tokio::time::Instant;
use wiring::exposition;

/// The time limit of every wait in these tests.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) const COMMON_FLAGS: [&str; 4] = [
    "test",
    "--listen=127.0.0.1:0",
    "--admin-listen=127.0.0.1:0",
    "--pod-name=pod-7",
];

/// Starts `app_a`, which calls `app_b` at this address.
pub(crate) fn start_app_a(app_b: SocketAddr, flags: &[&str]) -> AppA {
    let url = format!("--app-b-url=http://{app_b}");
    let arguments = COMMON_FLAGS.iter().chain(flags).copied().chain([url.as_str()]);
    let config = app_a::Config::parse_from(arguments);
    let metrics = app_a::metrics::Metrics::new();
    let server = Server::bind(&config.service, metrics.registry.clone()).unwrap();
    let (address, admin) = (server.address().unwrap(), server.admin_address());
    let app = app_a::App::new(&config, metrics.clone(), Tracer::OFF).unwrap();
    tokio::spawn(server.run(app_a::router(app, &config), std::future::pending()));
    AppA {
        address,
        admin,
        metrics,
    }
}

/// A running `app_a`.
pub(crate) struct AppA {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) metrics: app_a::metrics::Metrics,
}

impl AppA {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Returns the value of a counter. `series` is `name{labels}` as in the text format. 0 if it does not exist.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the value of a counter"
    )]
    pub(crate) fn metric(&self, series: &str) -> u64 {
        let text = service::metrics::text(&self.metrics.registry);
        exposition::value(&text, series).unwrap_or_default() as u64
    }

    /// Returns the number of calls to `app_b` with this outcome.
    pub(crate) fn calls(&self, outcome: &str) -> u64 {
        self.metric(&format!(
            r#"http_client_requests_total{{outcome="{outcome}",peer="app_b"}}"#
        ))
    }

    /// Returns the number of retried calls to `app_b`.
    pub(crate) fn retries(&self) -> u64 {
        self.metric(r#"http_client_retries_total{peer="app_b"}"#)
    }

    /// Sends `PUT /jobs` with a valid token.
    pub(crate) async fn put_jobs(&self) -> reqwest::Response {
        let client = reqwest::Client::new();
        client
            .put(self.url("/jobs"))
            .header("authorization", "mytoken")
            .send()
            .await
            .unwrap()
    }
}

/// Starts the real `app_b` with a user store in memory.
pub(crate) fn start_app_b(flags: &[&str]) -> SocketAddr {
    let config = app_b::Config::parse_from(COMMON_FLAGS.iter().chain(flags));
    let app = app_b::App {
        users: Arc::new(OneUser),
        metrics: app_b::metrics::Metrics::new(),
        tracer: Tracer::OFF,
        legacy_status: config.service.legacy_status,
    };
    serve_app_b(app, &config)
}

/// Serves `app_b` with this state.
pub(crate) fn serve_app_b(app: app_b::App, config: &app_b::Config) -> SocketAddr {
    let server = Server::bind(&config.service, app.metrics.registry.clone()).unwrap();
    let address = server.address().unwrap();
    tokio::spawn(server.run(app_b::router(app, config), std::future::pending()));
    address
}

/// A user store with one user, `density`, whose token is `mytoken`.
#[derive(Debug)]
pub(crate) struct OneUser;

impl UserStore for OneUser {
    fn user_by_token(&self, token: TokenHash) -> Lookup<'_> {
        let is_known = token == TokenHash::of(b"mytoken");
        Box::pin(async move {
            Ok(is_known.then(|| User {
                name: "density".to_owned(),
            }))
        })
    }

    fn replace_users<'a>(&'a self, _: &'a [UserRecord]) -> Replaced<'a> {
        unreachable!("no test replaces the users")
    }
}

/// Waits until `condition` is true. `what` describes the condition.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    while !condition() {
        assert!(
            Instant::now() < deadline,
            "timed out after {TEST_TIMEOUT:?}: {what}"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
