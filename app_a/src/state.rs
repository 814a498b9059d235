//! What the handlers share.

use anyhow::Result;

use crate::client::AppB;
use crate::config::Config;
use crate::metrics::Metrics;

/// What the handlers share.
#[derive(Debug)]
pub struct App {
    /// The client to `app_b`.
    pub app_b: AppB,
    /// Everything that is measured.
    pub metrics: Metrics,
    /// Answer 200 where 401 would be the answer.
    pub legacy_status: bool,
}

impl App {
    /// The state for this configuration.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(config: &Config, metrics: Metrics) -> Result<Self> {
        let app_b = AppB::new(&config.app_b, metrics.clone())?;
        Ok(Self {
            app_b,
            metrics,
            legacy_status: config.service.legacy_status,
        })
    }
}
