//! All metrics of `app_a`, in a registry of its own.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry};
use service::metrics::{HttpMetrics, LATENCY_BUCKETS, register, register_process};

use crate::client::Outcome;
use crate::router::ROUTES;

/// The metrics, each a field; cloning shares them.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Holds every metric below.
    pub registry: Registry,
    /// Requests that are answered.
    pub http: HttpMetrics,
    /// Calls to `app_b`, by outcome
    pub http_client_requests_total: IntCounterVec,
    /// Seconds that a call to `app_b` took, a second try included
    pub http_client_request_duration_seconds: Histogram,
    /// Calls to `app_b` that were tried again, because the connection closed before an answer
    pub http_client_retries_total: IntCounter,
}

impl Metrics {
    /// Registers all metrics, those of known routes and outcomes at 0.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let requests = Opts::new("http_client_requests_total", "Calls to app_b, by outcome");
        let duration = HistogramOpts::new(
            "http_client_request_duration_seconds",
            "Seconds that a call to app_b took, a second try included",
        )
        .const_label("peer", "app_b")
        .buckets(LATENCY_BUCKETS.to_vec());
        let retries = Opts::new(
            "http_client_retries_total",
            "Calls to app_b that were tried again, because the connection closed before an answer",
        )
        .const_label("peer", "app_b");
        let metrics = Self {
            http: HttpMetrics::new(&registry, &ROUTES),
            http_client_requests_total: register(
                &registry,
                IntCounterVec::new(requests.const_label("peer", "app_b"), &["outcome"]),
            ),
            http_client_request_duration_seconds: register(&registry, Histogram::with_opts(duration)),
            http_client_retries_total: register(&registry, IntCounter::with_opts(retries)),
            registry,
        };
        register_process(
            &metrics.registry,
            env!("CARGO_PKG_NAME"),
            env!("CARGO_PKG_VERSION"),
        );
        for outcome in Outcome::ALL {
            metrics
                .http_client_requests_total
                .with_label_values(&[outcome.label()]);
        }
        metrics
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
