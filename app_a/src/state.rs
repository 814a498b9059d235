//! The state that the handlers share.

use anyhow::Result;
use service::trace::Tracer;

use crate::client::AppB;
use crate::config::Config;
use crate::metrics::Metrics;

/// The state that the handlers share.
#[derive(Debug)]
pub struct App {
    /// The client to `app_b`.
    pub app_b: AppB,
    /// The metrics of the service.
    pub metrics: Metrics,
    /// Starts the spans of requests and calls.
    pub tracer: Tracer,
    /// Respond 200 with the body `fail` instead of 401.
    pub legacy_status: bool,
}

impl App {
    /// Creates the state for a configuration.
    ///
    /// # Errors
    /// If the HTTP client cannot be created.
    pub fn new(config: &Config, metrics: Metrics, tracer: Tracer) -> Result<Self> {
        let app_b = AppB::new(&config.app_b, metrics.app_b.clone(), tracer)?;
        Ok(Self {
            app_b,
            metrics,
            tracer,
            legacy_status: config.service.legacy_status,
        })
    }
}
