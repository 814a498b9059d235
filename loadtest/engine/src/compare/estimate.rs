//! The numbers of one run with their 95 % confidence intervals. Pure.
//!
//! Requests of the same second are correlated, so they contain less information than independent requests. The design
//! effect measures this: the ratio between the observed variance of the means per second, and their variance if the
//! requests were independent. Every interval uses the number of requests divided by the design effect.

use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::Serialize;

use crate::units::to_f64;

/// The number of standard errors to each side of the value in a 95 % interval of the normal distribution.
const Z: f64 = 1.96;

/// A number with its 95 % confidence interval. For several runs, the mean of their numbers; for latencies, the
/// geometric mean.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Estimate {
    /// The number, in the unit of its row.
    pub value: f64,
    /// The lower bound of the 95 % confidence interval.
    pub low: f64,
    /// The upper bound of the interval. Null if a single run has too few requests, as for the p99 of 50 requests.
    pub high: Option<f64>,
}

impl Estimate {
    /// Returns whether the intervals do not overlap, so that chance does not explain the difference.
    pub(crate) fn differs_from(&self, other: &Self) -> bool {
        let below = |one: &Self, other: &Self| one.high.is_some_and(|high| high < other.low);
        below(self, other) || below(other, self)
    }

    /// Returns whether the interval does not contain the value.
    pub(crate) fn excludes(&self, value: f64) -> bool {
        value < self.low || self.high.is_some_and(|high| high < value)
    }

    /// Converts the estimate with a monotonically increasing function.
    pub(crate) fn map(self, convert: impl Fn(f64) -> f64) -> Self {
        Self {
            value: convert(self.value),
            low: convert(self.low),
            high: self.high.map(convert),
        }
    }

    /// Returns the standard error of the value, computed from the interval.
    pub(crate) fn standard_error(&self) -> f64 {
        let width = self
            .high
            .map_or(2.0 * (self.value - self.low), |high| high - self.low);
        width / (2.0 * Z)
    }
}

/// The latencies of one run.
#[derive(Debug)]
pub(crate) struct Sample {
    latencies: Histogram<u64>,
    /// The effective sample size: the number of requests divided by the design effect.
    effective_size: f64,
}

impl Sample {
    /// Creates a sample of latencies in microseconds. `seconds` has the count and the mean, in ms, of each second.
    pub(crate) fn new(latencies: Histogram<u64>, seconds: &[(u64, f64)]) -> Self {
        let effective_size = to_f64(latencies.len()) / design_effect(&latencies, seconds);
        Self {
            latencies,
            effective_size,
        }
    }

    /// Estimates the mean, in milliseconds; `None` for an empty sample.
    pub(crate) fn mean(&self) -> Option<Estimate> {
        if self.latencies.is_empty() {
            return None;
        }
        let mean = self.latencies.mean() / 1000.0;
        let margin = Z * self.latencies.stdev() / 1000.0 / self.effective_size.sqrt();
        Some(Estimate {
            value: mean,
            low: (mean - margin).max(0.0),
            high: Some(mean + margin),
        })
    }

    /// Estimates a quantile, in milliseconds; `None` for an empty sample.
    ///
    /// The interval is between two ranks, which is valid for any distribution.
    pub(crate) fn quantile(&self, quantile: f64) -> Option<Estimate> {
        if self.latencies.is_empty() {
            return None;
        }
        let at = |quantile: f64| {
            let value = self.latencies.value_at_quantile(quantile.clamp(0.0, 1.0));
            to_f64(value.min(self.latencies.max())) / 1000.0
        };
        let margin = Z * (quantile * (1.0 - quantile) / self.effective_size).sqrt();
        Some(Estimate {
            value: at(quantile),
            low: at(quantile - margin),
            high: (quantile + margin < 1.0).then(|| at(quantile + margin)),
        })
    }
}

/// Returns the variance of the means per second, relative to that of independent requests; at least 1.
fn design_effect(latencies: &Histogram<u64>, seconds: &[(u64, f64)]) -> f64 {
    let variance = (latencies.stdev() / 1000.0).powi(2);
    if seconds.len() < 2 || variance <= 0.0 {
        return 1.0;
    }
    let mean = latencies.mean() / 1000.0;
    let between: f64 = seconds
        .iter()
        .map(|(count, second_mean)| to_f64(*count) * (second_mean - mean).powi(2))
        .sum();
    let degrees_of_freedom = to_f64(seconds.len() as u64) - 1.0;
    (between / degrees_of_freedom / variance).max(1.0)
}

/// Estimates the share of `count` in `total`; `None` if `total` is 0.
///
/// Uses the Wilson score interval, which is also valid near 0.
pub(crate) fn proportion(count: u64, total: u64) -> Option<Estimate> {
    if total == 0 {
        return None;
    }
    let (n, share) = (to_f64(total), to_f64(count) / to_f64(total));
    let center = (share + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let margin = Z / (1.0 + Z * Z / n) * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    Some(Estimate {
        value: share,
        low: (center - margin).max(0.0),
        high: Some((center + margin).min(1.0)),
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::simulation::{sample, shifted_exponential},
        *,
    };

    #[test]
    fn about_95_percent_of_the_intervals_contain_the_true_value() {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut mean_held, mut p99_held) = (0, 0);
        // The p99 of the distribution: 1 - e^(-x / 0.9) = 0.99, plus the shift by a tenth of the mean.
        let true_p99 = 10.0 * (0.1 + 0.9 * 100.0_f64.ln());
        for _ in 0..400 {
            let sample = sample(10, 200, |_| shifted_exponential(&mut random, 10.0));
            mean_held += u32::from(!sample.mean().unwrap().excludes(10.0));
            p99_held += u32::from(!sample.quantile(0.99).unwrap().excludes(true_p99));
        }
        // The expected value is 380 of 400, with a standard deviation of 4.4. The design effect is never below 1, so
        // the intervals are slightly too wide, and the upper limit is higher than three standard deviations.
        assert!((366..=399).contains(&mean_held), "{mean_held} of 400 means");
        assert!((366..=399).contains(&p99_held), "{p99_held} of 400 p99s");
    }

    #[test]
    fn differences_between_seconds_widen_the_interval() {
        let mut random = fastrand::Rng::with_seed(7);
        let even = sample(20, 200, |_| shifted_exponential(&mut random, 10.0));
        let uneven = sample(20, 200, |second| {
            shifted_exponential(&mut random, if second % 5 == 0 { 20.0 } else { 7.5 })
        });
        let width = |sample: &Sample| {
            let mean = sample.mean().unwrap();
            mean.high.unwrap() - mean.low
        };
        assert!(
            width(&uneven) > 3.0 * width(&even),
            "{} and {}",
            width(&uneven),
            width(&even)
        );
    }

    #[test]
    fn a_high_percentile_of_few_requests_has_no_upper_bound() {
        let mut value = 0.0;
        let sample = sample(1, 50, |_| {
            value += 1.0;
            value
        });
        let p99 = sample.quantile(0.99).unwrap();
        assert_eq!(p99.high, None);
        let higher = Estimate {
            value: 1000.0,
            low: 900.0,
            high: Some(1100.0),
        };
        assert!(
            !p99.differs_from(&higher),
            "an interval without an upper bound contains every higher value"
        );
    }

    #[test]
    fn a_share_of_0_has_an_interval() {
        let zero = proportion(0, 1000).unwrap();
        assert!(zero.value == 0.0 && zero.low == 0.0, "{zero:?}");
        // Slightly above the rule of three (3/n).
        assert!((0.003..0.004).contains(&zero.high.unwrap()), "{zero:?}");
        assert!(proportion(30, 1000).unwrap().differs_from(&zero));
        assert!(!proportion(2, 1000).unwrap().differs_from(&zero));
    }
}
