//! All metrics of `app_b`, in its own registry.

use prometheus::{IntGauge, Registry};
use service::metrics::{HttpMetrics, register, register_process};

use crate::routes::ROUTES;

/// The metrics, grouped by their source. Clones share their values.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// The registry of every metric below.
    pub registry: Registry,
    /// Requests from clients.
    pub http: HttpMetrics,
    /// 1 if the users are those of the users file, 0 if its last version could not be used
    pub users_last_reload_successful: IntGauge,
}

impl Metrics {
    /// Registers all metrics. The counters of known routes start at 0.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let reload = IntGauge::new(
            "users_last_reload_successful",
            "1 if the users are those of the users file, 0 if its last version could not be used",
        );
        let metrics = Self {
            http: HttpMetrics::new(&registry, &ROUTES),
            users_last_reload_successful: register(&registry, reload),
            registry,
        };
        // The service starts only with usable users.
        metrics.users_last_reload_successful.set(1);
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
