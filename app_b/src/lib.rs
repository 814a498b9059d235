//! The internal service that knows the users. `/auth` returns the user of a token.
#![warn(clippy::print_stderr, clippy::print_stdout)]

mod commands;
pub mod config;
mod error;
mod handlers;
pub mod metrics;
pub mod router;
pub mod routes;
pub mod state;
pub mod store;
pub mod users;

use std::sync::Arc;

use anyhow::Result;
use service::server::{Server, Signals};
use service::trace::Export;
use tokio::task::JoinSet;

pub use commands::Command;
pub use config::Config;
pub use router::router;
pub use state::App;
pub use users::Source;

/// Serves until SIGTERM or SIGINT, then drains. A second signal stops at once.
///
/// The admin listener responds from the start. The public listener responds once the database is migrated and has its users. A
/// signal before that stops the process at once: no request is in flight, and each step of the set-up is a transaction.
///
/// # Errors
/// If the service cannot start, or if the drain deadline cut off requests.
pub async fn run(config: Config) -> Result<()> {
    let mut signals = Signals::install()?;
    let source = config.user_source()?;
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
    let mut tasks = JoinSet::new();
    tasks.spawn(store::monitor(Arc::clone(&users), server.readiness()));
    if let Source::File(path) = source {
        let is_current = app.metrics.users_last_reload_successful.clone();
        tasks.spawn(users::watch(path, Arc::clone(&users), is_current));
    }
    let outcome = server.run_until_signal(router(app, &config), signals).await;
    tasks.shutdown().await;
    users.close().await;
    export.flush().await;
    outcome
}

/// Returns the text of `/metrics` before the first request.
#[must_use]
pub fn metrics_text() -> String {
    service::metrics::text(&metrics::Metrics::new().registry)
}
