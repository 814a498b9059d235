//! The percentiles of durations, and all latencies of a run.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::histogram;
use crate::units::to_f64;

/// Percentiles of durations, in milliseconds. All fields except `count` are null if there are no values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Summary {
    /// The number of values.
    pub count: u64,
    /// Arithmetic mean, in milliseconds.
    pub mean: Option<f64>,
    /// Median, in milliseconds.
    pub p50: Option<f64>,
    /// 90th percentile, in milliseconds.
    pub p90: Option<f64>,
    /// 95th percentile, in milliseconds.
    pub p95: Option<f64>,
    /// 99th percentile, in milliseconds.
    pub p99: Option<f64>,
    /// 99.9th percentile, in milliseconds.
    #[serde(rename = "p99.9")]
    pub p999: Option<f64>,
    /// Largest value, in milliseconds.
    pub max: Option<f64>,
}

impl Summary {
    /// Summarizes a histogram of microseconds.
    pub(crate) fn from_histogram(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let max = histogram.max();
        let at = |quantile: f64| Some(milliseconds(histogram.value_at_quantile(quantile).min(max)));
        Self {
            count: histogram.len(),
            mean: Some(histogram.mean() / 1000.0),
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            max: Some(milliseconds(max)),
        }
    }
}

fn milliseconds(microseconds: u64) -> f64 {
    to_f64(microseconds) / 1000.0
}

/// All latencies of a run: for percentiles that a [`Summary`] does not contain, and for comparisons with other runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Latencies(pub(crate) Histogram<u64>);

impl Latencies {
    /// Returns the percentile in milliseconds; `None` if there are no latencies.
    #[must_use]
    pub fn percentile_ms(&self, percentile: f64) -> Option<f64> {
        let max = self.0.max();
        let value = || milliseconds(self.0.value_at_percentile(percentile).min(max));
        (!self.0.is_empty()).then(value)
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self(histogram::new())
    }
}

impl Serialize for Latencies {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(histogram::encode(&self.0)))
    }
}
