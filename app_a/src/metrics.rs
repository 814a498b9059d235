//! All metrics of `app_a`, in its own registry.

use prometheus::Registry;
use service::metrics::{HttpMetrics, register_process};

use crate::client::metrics::CallMetrics;
use crate::routes::ROUTES;

/// The metrics, grouped by their source. Clones share their values.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// The registry of every metric below.
    pub registry: Registry,
    /// Requests from clients.
    pub http: HttpMetrics,
    /// Calls to `app_b`.
    pub app_b: CallMetrics,
}

impl Metrics {
    /// Registers all metrics. The counters of known routes and outcomes start at 0.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let metrics = Self {
            http: HttpMetrics::new(&registry, &ROUTES),
            app_b: CallMetrics::new(&registry),
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
