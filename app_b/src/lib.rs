//! The internal service that knows the users. `/auth` returns the user of a token.
#![warn(clippy::print_stderr, clippy::print_stdout)]

pub mod config;
mod error;
mod handlers;
pub mod metrics;
pub mod router;
pub mod routes;
pub mod state;
pub mod store;

use std::sync::Arc;

use anyhow::Result;
use service::server::{Server, Signals};
use service::trace::Export;

pub use config::Config;
pub use router::router;
pub use state::App;

/// Serves until SIGTERM or SIGINT, then drains. A second signal stops at once.
///
/// The admin listener responds from the start. The public listener responds once the database is migrated and seeded. A
/// signal before that stops the process at once: no request is in flight, and each step of the set-up is a transaction.
///
/// # Errors
/// If the service cannot start, or if the drain deadline cut off requests.
pub async fn run(config: Config) -> Result<()> {
    let mut signals = Signals::install()?;
    let metrics = metrics::Metrics::new();
    let server = Server::bind(&config.service, metrics.registry.clone())?;
    let export = Export::start(
        &config.service,
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_VERSION"),
        &metrics.registry,
    )?;
    let app = tokio::select! {
        app = App::new(&config, metrics, export.tracer()) => app?,
        () = signals.received() => {
            tracing::info!("stopped before the database was open");
            return Ok(());
        }
    };
    let users = Arc::clone(&app.users);
    let monitor = tokio::spawn(store::monitor(Arc::clone(&users), server.readiness()));
    let outcome = server.run_until_signal(router(app, &config), signals).await;
    monitor.abort();
    users.close().await;
    export.flush().await;
    outcome
}

/// Returns the text of `/metrics` before the first request.
#[must_use]
pub fn metrics_text() -> String {
    service::metrics::text(&metrics::Metrics::new().registry)
}
