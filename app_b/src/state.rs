//! The state that the handlers share.

use std::sync::Arc;

use anyhow::Result;
use service::trace::Tracer;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::store::{self, UserStore};

/// The state that the handlers share.
#[derive(Debug)]
pub struct App {
    /// The user store.
    pub users: Arc<dyn UserStore>,
    /// The metrics of the service.
    pub metrics: Metrics,
    /// Starts the spans of requests.
    pub tracer: Tracer,
    /// Respond 200 with the body `fail` instead of 400, 401 or 415.
    pub legacy_status: bool,
}

impl App {
    /// Loads the users, opens the store, and creates the state for a configuration.
    ///
    /// # Errors
    /// If the users cannot be loaded or the store cannot be used. The message says what to do.
    pub async fn new(config: &Config, metrics: Metrics, tracer: Tracer) -> Result<Self> {
        let users = config.user_source()?.load().await?;
        let users = store::open(&config.database_url, &users).await?;
        users.register_metrics(&metrics.registry);
        Ok(Self {
            users,
            metrics,
            tracer,
            legacy_status: config.service.legacy_status,
        })
    }
}
