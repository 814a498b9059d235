//! The metrics of the sidecar. The HELP text of each is the comment of its field.

use prometheus::{IntCounter, IntGauge, Registry};
use service::metrics::{register, register_process};

/// The metrics, and the registry that contains them.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// The registry that `/metrics` shows.
    pub registry: Registry,
    /// End of the validity of the certificate in use, in seconds since 1970; 0 while no certificate is in use
    pub serving_certificate_expiration_timestamp_seconds: IntGauge,
    /// Certificates that replaced an earlier one before its end
    pub serving_certificate_renewals_total: IntCounter,
    /// Rounds in which the authority could not be published
    pub serving_certificate_publish_failures_total: IntCounter,
}

impl Metrics {
    /// Registers all metrics in a new registry, also those of the process and the count of dropped log lines.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        register_process(&registry, env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        let expiration = IntGauge::new(
            "serving_certificate_expiration_timestamp_seconds",
            "End of the validity of the certificate in use, in seconds since 1970; 0 while no certificate is in use",
        );
        let renewals = IntCounter::new(
            "serving_certificate_renewals_total",
            "Certificates that replaced an earlier one before its end",
        );
        let failures = IntCounter::new(
            "serving_certificate_publish_failures_total",
            "Rounds in which the authority could not be published",
        );
        Self {
            serving_certificate_expiration_timestamp_seconds: register(&registry, expiration),
            serving_certificate_renewals_total: register(&registry, renewals),
            serving_certificate_publish_failures_total: register(&registry, failures),
            registry,
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
