//! The internal service that knows the users: `/auth` says whose token it is.

pub mod config;
mod error;
mod handlers;
pub mod metrics;
pub mod router;
pub mod state;
pub mod store;

use std::sync::Arc;

use anyhow::Result;
use service::server::{Server, Signals};

pub use config::Config;
pub use router::router;
pub use state::App;

/// Serves until SIGTERM or SIGINT. The admin listener answers from the start; the service itself when the database is
/// there, migrated and seeded. Told to end before that, it ends at once: nobody's request is in flight, and every step
/// of the database's making is a transaction.
///
/// # Errors
/// When it cannot start, or requests were cut off at the drain deadline.
pub async fn run(config: Config) -> Result<()> {
    let mut signals = Signals::install()?;
    let metrics = metrics::Metrics::new();
    let server = Server::bind(&config.service, metrics.registry.clone()).await?;
    let app = tokio::select! {
        app = App::new(&config, metrics) => app?,
        () = signals.received() => {
            tracing::info!("ended before the database was open");
            return Ok(());
        }
    };
    let users = Arc::clone(&app.users);
    let outcome = server.run(router(app, &config), signals.received()).await;
    users.close().await;
    outcome
}

/// What `/metrics` says before the first request.
#[must_use]
pub fn metrics_text() -> String {
    service::metrics::text(&metrics::Metrics::new().registry)
}
