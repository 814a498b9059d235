//! The public frontend: greets at `/hello` and hands out jobs at `/jobs` to users whom `app_b` knows.

pub mod client;
pub mod config;
mod error;
mod handlers;
pub mod metrics;
pub mod router;
pub mod state;

use anyhow::Result;
use service::server::{Server, Signals};

pub use config::Config;
pub use router::router;
pub use state::App;

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start, or requests were cut off at the drain deadline.
pub async fn run(config: Config) -> Result<()> {
    let mut signals = Signals::install()?;
    let metrics = metrics::Metrics::new();
    let server = Server::bind(&config.service, metrics.registry.clone()).await?;
    let app = App::new(&config, metrics)?;
    server.run(router(app, &config), signals.received()).await
}

/// What `/metrics` says before the first request.
#[must_use]
pub fn metrics_text() -> String {
    service::metrics::text(&metrics::Metrics::new().registry)
}
