//! The requests of a run or of a part of it, and their numbers. Pure.

use hdrhistogram::Histogram;

use crate::units::to_f64;

/// A number of some requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    /// The mean latency.
    Mean,
    /// A quantile of the latency, between 0 and 1.
    Quantile(f64),
    /// The share of failed requests.
    Failed,
}

/// The results of some requests.
#[derive(Clone, Debug)]
pub(crate) struct Requests {
    /// The latencies, in microseconds.
    pub(crate) latencies: Histogram<u64>,
    pub(crate) scheduled: u64,
    pub(crate) failed: u64,
}

impl Requests {
    /// Returns a number, in milliseconds or percent; `None` if it was not measured.
    pub(crate) fn read(&self, number: Number) -> Option<f64> {
        let is_measured = !self.latencies.is_empty();
        match number {
            Number::Mean => is_measured.then(|| self.latencies.mean() / 1000.0),
            Number::Quantile(quantile) => {
                let value = self.latencies.value_at_quantile(quantile);
                is_measured.then(|| to_f64(value.min(self.latencies.max())) / 1000.0)
            }
            Number::Failed => {
                (self.scheduled > 0).then(|| 100.0 * to_f64(self.failed) / to_f64(self.scheduled))
            }
        }
    }
}
