//! The metrics that both services have. Each service registers them in a [`Registry`] of its own; nothing is global.

mod http;

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
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
/// The labels `revision` and `image_tag` of `build_info` come from the environment, which the image sets. They are not
/// compiled in, because the program would then differ for each commit, even with the same source.
///
/// # Panics
/// When called twice for one registry. This is a programming error that fails every start of the service.
pub fn register_process(registry: &Registry, service: &str, version: &str) {
    let help = "Always 1; the labels are the service, its version, and the revision and the tag of its image";
    let labels = ["service", "version", "revision", "image_tag"];
    let build_info = IntGaugeVec::new(Opts::new("build_info", help), &labels);
    let (revision, image_tag) = (from_image("IMAGE_REVISION"), from_image("IMAGE_TAG"));
    register(registry, build_info)
        .with_label_values(&[service, version, &revision, &image_tag])
        .set(1);
    register(registry, Ok(DROPPED_LINES.clone()));
    registry
        .register(Box::new(ProcessCollector::for_self()))
        .expect("the names of the process metrics are unique");
}

/// Returns a variable that the image sets, or `unknown`.
fn from_image(variable: &str) -> String {
    let value = std::env::var(variable).ok();
    value
        .filter(|value| !value.is_empty())
        .unwrap_or_else(|| "unknown".to_owned())
}

/// Returns all metrics of the registry in the Prometheus text format.
#[must_use]
pub fn text(registry: &Registry) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail, and the registry returns no family without samples.
    TextEncoder::new().encode_utf8(&registry.gather(), &mut text).ok();
    text
}
