//! A number with its 95 % confidence interval. Pure.

use schemars::JsonSchema;
use serde::Serialize;

use crate::units::to_f64;

/// The number of standard errors to each side of the value in a 95 % interval of the normal distribution.
const Z: f64 = 1.96;

/// A number, and its 95 % confidence interval if it comes from several runs. For several runs, the number is the mean of
/// their numbers; for latencies, the geometric mean.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Estimate {
    /// The number, in the unit of its row.
    pub value: f64,
    /// The lower bound of the 95 % confidence interval; null for a single run.
    pub low: Option<f64>,
    /// The upper bound of the interval; null for a single run.
    pub high: Option<f64>,
}

impl Estimate {
    /// Creates an estimate without an interval.
    pub(crate) fn without_interval(value: f64) -> Self {
        Self {
            value,
            low: None,
            high: None,
        }
    }

    /// Creates an estimate with an interval of `margin` to each side.
    pub(crate) fn with_margin(value: f64, margin: f64) -> Self {
        Self {
            value,
            low: Some(value - margin),
            high: Some(value + margin),
        }
    }

    /// Returns whether the interval does not contain the value.
    pub(crate) fn excludes(&self, value: f64) -> bool {
        self.low.is_some_and(|low| value < low) || self.high.is_some_and(|high| high < value)
    }

    /// Converts the estimate with a monotonically increasing function.
    pub(crate) fn map(self, convert: impl Fn(f64) -> f64) -> Self {
        Self {
            value: convert(self.value),
            low: self.low.map(&convert),
            high: self.high.map(&convert),
        }
    }

    /// Returns the standard error of the value, computed from the interval; 0 without an interval.
    pub(crate) fn standard_error(&self) -> f64 {
        let width = self.high.zip(self.low).map_or(0.0, |(high, low)| high - low);
        width / (2.0 * Z)
    }
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
        low: Some((center - margin).max(0.0)),
        high: Some((center + margin).min(1.0)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_0_has_an_interval() {
        let zero = proportion(0, 1000).unwrap();
        assert!(zero.value == 0.0 && zero.low == Some(0.0), "{zero:?}");
        // Slightly above the rule of three (3/n).
        assert!((0.003..0.004).contains(&zero.high.unwrap()), "{zero:?}");
        assert!(proportion(30, 1000).unwrap().excludes(zero.high.unwrap()));
        assert!(!proportion(2, 1000).unwrap().excludes(zero.high.unwrap()));
    }
}
