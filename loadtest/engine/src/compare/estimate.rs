//! Numbers of one run with the range in which they lie with a confidence of 95 %. Pure.
//!
//! Requests of one second are alike, so that a run knows less than its number of requests promises. How much less, the
//! seconds themselves say: their means differ by more than chance alone would make them. That factor, the design effect,
//! divides the number of requests wherever a range is worked out.

use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::Serialize;

use crate::units::to_f64;

/// Of the normal distribution, for 95 %.
const Z: f64 = 1.96;

/// A number and the range in which it lies; of several runs, the mean of theirs, of latencies the geometric.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Estimate {
    /// The number, in the unit that is named beside it.
    pub value: f64,
    /// Where its range begins, at a confidence of 95 %.
    pub low: f64,
    /// Where its range ends. Nothing where one run has too few requests to bound it: a p99 of fifty.
    pub high: Option<f64>,
}

impl Estimate {
    /// Whether the ranges lie apart, so that chance is no explanation.
    pub(crate) fn differs_from(&self, other: &Self) -> bool {
        let below = |one: &Self, other: &Self| one.high.is_some_and(|high| high < other.low);
        below(self, other) || below(other, self)
    }

    /// Whether the range does not hold this value.
    pub(crate) fn excludes(&self, value: f64) -> bool {
        value < self.low || self.high.is_some_and(|high| high < value)
    }

    /// On another scale, which rises with this one.
    pub(crate) fn map(self, to: impl Fn(f64) -> f64) -> Self {
        Self {
            value: to(self.value),
            low: to(self.low),
            high: self.high.map(to),
        }
    }

    /// The standard error that the range stands for.
    pub(crate) fn standard_error(&self) -> f64 {
        let width = self
            .high
            .map_or(2.0 * (self.value - self.low), |high| high - self.low);
        width / (2.0 * Z)
    }
}

/// What is estimated from.
#[derive(Debug)]
pub(crate) struct Sample {
    latencies: Histogram<u64>,
    /// The number of requests, less what they have in common.
    effective: f64,
}

impl Sample {
    /// Of latencies in microseconds, and the count and mean, in milliseconds, of each second.
    pub(crate) fn new(latencies: Histogram<u64>, seconds: &[(u64, f64)]) -> Self {
        let effective = to_f64(latencies.len()) / design_effect(&latencies, seconds);
        Self { latencies, effective }
    }

    /// The mean, in milliseconds; `None` of nothing.
    pub(crate) fn mean(&self) -> Option<Estimate> {
        if self.latencies.is_empty() {
            return None;
        }
        let mean = self.latencies.mean() / 1000.0;
        let off = Z * self.latencies.stdev() / 1000.0 / self.effective.sqrt();
        Some(Estimate {
            value: mean,
            low: (mean - off).max(0.0),
            high: Some(mean + off),
        })
    }

    /// A quantile, in milliseconds, by the ranks between which it lies whatever the distribution; `None` of nothing.
    pub(crate) fn quantile(&self, quantile: f64) -> Option<Estimate> {
        if self.latencies.is_empty() {
            return None;
        }
        let at = |quantile: f64| {
            let value = self.latencies.value_at_quantile(quantile.clamp(0.0, 1.0));
            to_f64(value.min(self.latencies.max())) / 1000.0
        };
        let off = Z * (quantile * (1.0 - quantile) / self.effective).sqrt();
        Some(Estimate {
            value: at(quantile),
            low: at(quantile - off),
            high: (quantile + off < 1.0).then(|| at(quantile + off)),
        })
    }
}

/// How much more the means of the seconds vary than those of as many requests taken by chance; at least 1.
fn design_effect(latencies: &Histogram<u64>, seconds: &[(u64, f64)]) -> f64 {
    let variance = (latencies.stdev() / 1000.0).powi(2);
    if seconds.len() < 2 || variance <= 0.0 {
        return 1.0;
    }
    let mean = latencies.mean() / 1000.0;
    let between: f64 = seconds
        .iter()
        .map(|(count, of_second)| to_f64(*count) * (of_second - mean).powi(2))
        .sum();
    let degrees_of_freedom = to_f64(seconds.len() as u64) - 1.0;
    (between / degrees_of_freedom / variance).max(1.0)
}

/// The share of `count` in `all`, by Wilson's interval, which holds near 0, too; `None` of nothing.
pub(crate) fn proportion(count: u64, all: u64) -> Option<Estimate> {
    if all == 0 {
        return None;
    }
    let (n, share) = (to_f64(all), to_f64(count) / to_f64(all));
    let middle = (share + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let off = Z / (1.0 + Z * Z / n) * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    Some(Estimate {
        value: share,
        low: (middle - off).max(0.0),
        high: Some((middle + off).min(1.0)),
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::simulation::{shifted_exponential, sample},
        *,
    };

    #[test]
    fn nineteen_of_twenty_ranges_hold_the_truth() {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut mean_held, mut p99_held) = (0, 0);
        // The p99 of the distribution: 1 - e^(-x / 0.9) = 0.99, and the tenth that it is moved by.
        let truth = 10.0 * (0.1 + 0.9 * 100.0_f64.ln());
        for _ in 0..400 {
            let sample = sample(10, 200, |_| shifted_exponential(&mut random, 10.0));
            mean_held += u32::from(!sample.mean().unwrap().excludes(10.0));
            p99_held += u32::from(!sample.quantile(0.99).unwrap().excludes(truth));
        }
        // 380 of 400, give or take three standard deviations of 4.4; a design effect that is never below 1 widens it.
        assert!((366..=399).contains(&mean_held), "{mean_held} of 400 means");
        assert!((366..=399).contains(&p99_held), "{p99_held} of 400 p99s");
    }

    #[test]
    fn seconds_that_are_slow_as_a_whole_widen_the_range() {
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
    fn few_requests_leave_a_high_percentile_open() {
        let mut value = 0.0;
        let sample = sample(1, 50, |_| {
            value += 1.0;
            value
        });
        let p99 = sample.quantile(0.99).unwrap();
        assert_eq!(p99.high, None);
        let far = Estimate {
            value: 1000.0,
            low: 900.0,
            high: Some(1100.0),
        };
        assert!(!p99.differs_from(&far), "what is open may be anything above");
    }

    #[test]
    fn a_share_of_nothing_failed_still_has_a_range() {
        let none = proportion(0, 1000).unwrap();
        assert!(none.value == 0.0 && none.low == 0.0, "{none:?}");
        // The rule of three, a little wider.
        assert!((0.003..0.004).contains(&none.high.unwrap()), "{none:?}");
        assert!(proportion(30, 1000).unwrap().differs_from(&none));
        assert!(!proportion(2, 1000).unwrap().differs_from(&none));
    }
}
