//! The public frontend. `/hello` greets; `/jobs` lists jobs for users whose token `app_b` knows.
#![warn(clippy::print_stderr, clippy::print_stdout)]

pub mod client;
pub mod config;
mod error;
mod handlers;
pub mod metrics;
pub mod router;
pub mod routes;
pub mod state;

use anyhow::Result;
use service::server::{Server, Signals};
use service::trace::Export;

pub use config::Config;
pub use router::router;
pub use state::App;

/// Serves until SIGTERM or SIGINT, then drains. A second signal stops at once.
///
/// # Errors
/// If the service cannot start, or if the drain deadline cut off requests.
pub async fn run(config: Config) -> Result<()> {
    let signals = Signals::install()?;
    let metrics = metrics::Metrics::new();
    let server = Server::bind(&config.service, metrics.registry.clone())?
        .with_tls(&config.tls, &metrics.registry)
        .await?;
    let export = Export::start(
        &config.service,
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_VERSION"),
        &metrics.registry,
    )?;
    let app = App::new(&config, metrics, export.tracer())?;
    let outcome = server.run_until_signal(router(app, &config), signals).await;
    export.flush().await;
    outcome
}

/// Returns the text of `/metrics` before the first request.
#[must_use]
pub fn metrics_text() -> String {
    service::metrics::text(&metrics::Metrics::new().registry)
}
