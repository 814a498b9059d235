//! What the handlers share.

use std::sync::Arc;

use anyhow::Result;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::store::{self, UserStore};

/// What the handlers share.
#[derive(Debug)]
pub struct App {
    /// Where the users are.
    pub users: Arc<dyn UserStore>,
    /// Everything that is measured.
    pub metrics: Metrics,
    /// Answer 200 where 400, 401 or 415 would be the answer.
    pub legacy_status: bool,
}

impl App {
    /// The state for this configuration, with the store opened, migrated and seeded.
    ///
    /// # Errors
    /// When the store cannot be used; the message says what to do.
    pub async fn new(config: &Config, metrics: Metrics) -> Result<Self> {
        let users = store::open(&config.database_url).await?;
        Ok(Self {
            users,
            metrics,
            legacy_status: config.service.legacy_status,
        })
    }
}
