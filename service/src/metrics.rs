//! Metrics that both services have. Each service owns a [`Registry`] and puts these into it; nothing is global.

mod http;
mod process;

use prometheus::core::Collector;
use prometheus::{IntGaugeVec, Opts, Registry, TextEncoder};

pub use http::{HttpMetrics, KnownRoute, UNMATCHED};
pub(crate) use http::{Measured, RequestTimer};

/// Bounds of latency histograms, in seconds: fine where a healthy pair answers, up to the longest deadline.
pub const LATENCY_BUCKETS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Puts a metric into the registry and hands it back.
///
/// # Panics
/// When two metrics share a name: a programming error that every start of the service would show.
pub fn register<M: Collector + Clone + 'static>(
    registry: &Registry,
    metric: Result<M, prometheus::Error>,
) -> M {
    let metric = metric.expect("the metric's name and labels are valid");
    registry
        .register(Box::new(metric.clone()))
        .expect("the metric's name is used once");
    metric
}

/// Registers `build_info` and what the kernel knows of the process.
///
/// # Panics
/// When called twice for one registry: a programming error that every start of the service would show.
pub fn register_process(registry: &Registry, service: &str, version: &str) {
    let help = "Always 1; its labels name the service and its version";
    let build_info = IntGaugeVec::new(Opts::new("build_info", help), &["service", "version"]);
    register(registry, build_info)
        .with_label_values(&[service, version])
        .set(1);
    registry
        .register(Box::new(process::ProcessCollector::new()))
        .expect("the process metrics' names are used once");
}

/// The registry's content in Prometheus' text format.
#[must_use]
pub fn text(registry: &Registry) -> String {
    let mut text = String::new();
    // Writing to a String does not fail, and a family without samples is never gathered.
    TextEncoder::new().encode_utf8(&registry.gather(), &mut text).ok();
    text
}
