//! All metrics of `app_b`, in a registry of its own.

use prometheus::Registry;
use service::metrics::{HttpMetrics, register_process};

use crate::router::ROUTES;

/// The metrics, each a field; cloning shares them.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Holds every metric below.
    pub registry: Registry,
    /// Requests that are answered.
    pub http: HttpMetrics,
}

impl Metrics {
    /// Registers all metrics, those of known routes at 0.
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
