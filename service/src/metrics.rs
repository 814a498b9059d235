//! The metrics that both services have. Each service registers them in a [`Registry`] of its own; nothing is global.

mod http;
mod process;

use prometheus::core::Collector;
use prometheus::{IntGaugeVec, Opts, Registry, TextEncoder};

use crate::log_writer::DROPPED_LINES;

pub use http::{HttpMetrics, KnownRoute, UNMATCHED};
pub(crate) use http::{Measurement, RequestTimer};

/// Bucket bounds of latency histograms, in seconds. They are close together in the range of healthy responses, and end at
/// the longest deadline.
pub const LATENCY_BUCKETS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Registers a metric and returns it.
///
/// # Panics
/// When the name is already registered or invalid. This is a programming error that fails every start of the service.
pub fn register<M: Collector + Clone + 'static>(
    registry: &Registry,
    metric: Result<M, prometheus::Error>,
) -> M {
    let metric = metric.expect("the name and the labels of the metric are valid");
    registry
        .register(Box::new(metric.clone()))
        .expect("the name of the metric is unique");
    metric
}

/// Registers `build_info`, the process metrics and the counter of dropped log lines.
///
/// # Panics
/// When called twice for one registry. This is a programming error that fails every start of the service.
pub fn register_process(registry: &Registry, service: &str, version: &str) {
    let help = "Always 1; the labels are the service and its version";
    let build_info = IntGaugeVec::new(Opts::new("build_info", help), &["service", "version"]);
    register(registry, build_info)
        .with_label_values(&[service, version])
        .set(1);
    register(registry, Ok(DROPPED_LINES.clone()));
    registry
        .register(Box::new(process::ProcessCollector::new()))
        .expect("the names of the process metrics are unique");
}

/// Returns all metrics of the registry in the Prometheus text format.
#[must_use]
pub fn text(registry: &Registry) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail, and the registry returns no family without samples.
    TextEncoder::new().encode_utf8(&registry.gather(), &mut text).ok();
    text
}
