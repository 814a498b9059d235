//! All metrics of `app_b`, in its own registry.

use prometheus::Registry;
use service::metrics::{HttpMetrics, register_process};

use crate::routes::ROUTES;

/// The metrics, grouped by their source. Clones share their values.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// The registry of every metric below.
    pub registry: Registry,
    /// Requests from clients.
    pub http: HttpMetrics,
}

impl Metrics {
    /// Registers all metrics. The counters of known routes start at 0.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let metrics = Self {
            http: HttpMetrics::new(&registry, &ROUTES),
            registry,
        };
        register_process(
            &metrics.registry,
            env!("CARGO_PKG_NAME"),
            env!("CARGO_PKG_VERSION"),
        );
        metrics
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
