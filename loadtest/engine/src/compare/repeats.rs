//! One number over all runs of a side. Pure.
//!
//! With several runs, the value of each run is one observation. The differences between the runs contain all random
//! effects: those on single requests, and those on a whole run, such as a neighbour on the machine or a start of the
//! server. The confidence interval uses Student's t-distribution. The difference of two sides uses Welch's t-test.
//!
//! Latencies are compared by their logarithms, because a slow machine multiplies them. Some runs are much slower, but
//! none is faster by the same amount. A difference of logarithms is a difference in percent.
//!
//! The differences between the parts of a run are not used here: they do not contain the effects on a whole run.

use super::estimate::Estimate;
use crate::units::to_f64;

/// The kind of a number.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MetricKind {
    /// A latency, in milliseconds.
    Latency,
    /// The share of failed requests in the scheduled requests, in percent.
    Share,
}

impl MetricKind {
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Latency => "ms",
            Self::Share => "%",
        }
    }

    /// Converts a value to the scale on which random effects are additive. The resolution of latencies is 1 µs.
    pub(crate) fn scaled(self, value: f64) -> f64 {
        match self {
            Self::Latency => value.max(0.001).ln(),
            Self::Share => value,
        }
    }

    /// The inverse of [`MetricKind::scaled`].
    fn unscaled(self, value: f64) -> f64 {
        match self {
            Self::Latency => value.exp(),
            Self::Share => value.clamp(0.0, 100.0),
        }
    }

    /// Converts a difference of scaled values to percent, or to percentage points for shares.
    fn percent(self, difference: f64) -> f64 {
        match self {
            Self::Latency => difference.exp_m1() * 100.0,
            Self::Share => difference,
        }
    }
}

/// One number in each run of a side.
#[derive(Debug)]
pub(crate) struct MetricAcrossRuns {
    kind: MetricKind,
    runs: Vec<Estimate>,
}

impl MetricAcrossRuns {
    /// Creates the number from the estimate of each run. There must be at least one run.
    pub(crate) fn new(kind: MetricKind, runs: Vec<Estimate>) -> Self {
        Self { kind, runs }
    }

    /// Returns the number of the side, with its confidence interval if there are several runs.
    pub(crate) fn estimate(&self) -> Estimate {
        let Some(mean) = self.mean() else {
            return Estimate::without_interval(self.runs[0].value);
        };
        mean.interval().map(|value| self.kind.unscaled(value))
    }

    /// Returns the increase from this side to `after`, in percent; in percentage points for shares.
    ///
    /// Returns `None` unless both sides have several runs.
    pub(crate) fn difference(&self, after: &Self) -> Option<Estimate> {
        let difference = after.mean()?.minus(self.mean()?).interval();
        Some(difference.map(|value| self.kind.percent(value)))
    }

    /// Returns the mean of the scaled values of all runs; `None` for a single run.
    fn mean(&self) -> Option<Mean> {
        let [_, _, ..] = self.runs.as_slice() else {
            return None;
        };
        let count = to_f64(self.runs.len() as u64);
        let values = self.runs.iter().map(|run| self.kind.scaled(run.value));
        let value = values.clone().sum::<f64>() / count;
        let squared_deviations: f64 = values.map(|run_value| (run_value - value).powi(2)).sum();
        // Small counts are often equal by chance: three runs with one failure each do not make the share certain.
        let min_variance = match self.kind {
            MetricKind::Latency => 0.0,
            MetricKind::Share => {
                self.runs
                    .iter()
                    .map(|run| run.standard_error().powi(2))
                    .sum::<f64>()
                    / count
            }
        };
        let variance = squared_deviations / (count - 1.0);
        Some(Mean {
            value,
            variance: variance.max(min_variance) / count,
            // The minimum variance is known and not estimated, so the normal distribution applies.
            degrees_of_freedom: if variance > min_variance {
                count - 1.0
            } else {
                f64::INFINITY
            },
        })
    }
}

/// A mean, or the difference of two means.
#[derive(Clone, Copy, Debug)]
struct Mean {
    value: f64,
    /// The variance of the mean, not of the single values.
    variance: f64,
    /// The degrees of freedom of the estimated variance.
    degrees_of_freedom: f64,
}

impl Mean {
    /// Returns the difference, with the degrees of freedom by Welch and Satterthwaite.
    fn minus(self, other: Self) -> Self {
        let variance = self.variance + other.variance;
        let parts = self.variance.powi(2) / self.degrees_of_freedom
            + other.variance.powi(2) / other.degrees_of_freedom;
        Self {
            value: self.value - other.value,
            variance,
            degrees_of_freedom: variance.powi(2) / parts,
        }
    }

    /// Returns the value with its 95 % confidence interval.
    fn interval(self) -> Estimate {
        let margin = if self.variance > 0.0 {
            student_t_quantile(self.degrees_of_freedom) * self.variance.sqrt()
        } else {
            0.0
        };
        Estimate::with_margin(self.value, margin)
    }
}

/// Returns the 0.975 quantile of Student's t-distribution, for a 95 % interval and at least 1 degree of freedom.
///
/// Interpolates linearly over the reciprocal of the degrees of freedom. The result is at most 2 % too high above 2
/// degrees of freedom, and at most 19 % too high below, which only happens with two runs per side.
fn student_t_quantile(degrees_of_freedom: f64) -> f64 {
    const TABLE: [(f64, f64); 10] = [
        (1.0, 12.706),
        (2.0, 4.303),
        (3.0, 3.182),
        (4.0, 2.776),
        (5.0, 2.571),
        (7.0, 2.365),
        (10.0, 2.228),
        (15.0, 2.131),
        (30.0, 2.042),
        (f64::INFINITY, 1.960),
    ];
    let next = TABLE
        .iter()
        .position(|(freedom, _)| *freedom > degrees_of_freedom)
        .unwrap_or(TABLE.len() - 1)
        .max(1);
    let ((below, high), (above, low)) = (TABLE[next - 1], TABLE[next]);
    let fraction = (1.0 / degrees_of_freedom - 1.0 / above) / (1.0 / below - 1.0 / above);
    low + fraction * (high - low)
}

#[cfg(test)]
mod tests {
    use super::{super::estimate::proportion, *};

    #[test]
    fn student_t_quantiles_are_close_to_the_exact_values() {
        for (degrees_of_freedom, exact) in [
            (1.0, 12.706),
            (1.5, 6.017),
            (2.0, 4.303),
            (2.5, 3.575),
            (8.0, 2.306),
            (12.0, 2.179),
            (100.0, 1.984),
        ] {
            let ratio = student_t_quantile(degrees_of_freedom) / exact;
            let max = if degrees_of_freedom < 2.0 { 1.19 } else { 1.02 };
            assert!(
                (0.999..max).contains(&ratio),
                "{ratio} times the exact value for {degrees_of_freedom} degrees of freedom"
            );
        }
    }

    fn across_runs(kind: MetricKind, values: &[f64]) -> MetricAcrossRuns {
        let runs = values.iter().map(|value| Estimate::without_interval(*value));
        MetricAcrossRuns::new(kind, runs.collect())
    }

    fn assert_close(estimate: Estimate, low: f64, value: f64, high: f64) {
        let differences = [
            estimate.low.unwrap() - low,
            estimate.value - value,
            estimate.high.unwrap() - high,
        ];
        assert!(
            differences.iter().all(|difference| difference.abs() < 0.02),
            "{estimate:?} is not {value} ({low} … {high})"
        );
    }

    #[test]
    fn intervals_follow_student_and_differences_follow_welch() {
        let before = across_runs(MetricKind::Share, &[1.0, 2.0, 3.0]);
        let after = across_runs(MetricKind::Share, &[3.0, 5.0, 7.0]);
        // Computed by hand: variances 1 and 4, variances of the means 1/3 and 4/3, and 2 degrees of freedom.
        assert_close(before.estimate(), 0.0, 2.0, 2.0 + 4.303 * 0.577);
        assert_close(after.estimate(), 5.0 - 4.303 * 1.155, 5.0, 5.0 + 4.303 * 1.155);
        // (5/3)² / ((1/3)² / 2 + (4/3)² / 2) = 2.94 degrees of freedom, with the quantile 3.22.
        let margin = 3.22 * 1.291;
        assert_close(
            before.difference(&after).unwrap(),
            3.0 - margin,
            3.0,
            3.0 + margin,
        );
    }

    #[test]
    fn latencies_are_compared_by_factors() {
        let before = across_runs(MetricKind::Latency, &[1.0, 2.0, 4.0]);
        let after = across_runs(MetricKind::Latency, &[2.0, 4.0, 8.0]);
        // The logarithms to base 2 are 0, 1 and 2. Their variance is 1, and that of their mean is 1/3.
        let margin = (4.303_f64 * 0.577).exp2();
        assert_close(before.estimate(), 2.0 / margin, 2.0, 2.0 * margin);
        let margin = (2.776_f64 * 0.816).exp2();
        let percent = |factor: f64| (factor - 1.0) * 100.0;
        for (first, second, factor) in [(&before, &after, 2.0), (&after, &before, 0.5)] {
            let difference = first.difference(second).unwrap();
            let is_close = |value: f64, factor: f64| (value / percent(factor) - 1.0).abs() < 0.01;
            assert!(
                is_close(difference.value, factor)
                    && is_close(difference.low.unwrap(), factor / margin)
                    && is_close(difference.high.unwrap(), factor * margin),
                "{difference:?}"
            );
        }
    }

    #[test]
    fn equal_runs_have_an_interval_of_width_0() {
        let two = across_runs(MetricKind::Latency, &[2.0, 2.0]);
        let three = across_runs(MetricKind::Latency, &[3.0, 3.0]);
        assert_close(two.difference(&three).unwrap(), 50.0, 50.0, 50.0);
        assert!(!two.difference(&two).unwrap().excludes(0.0));
    }

    #[test]
    fn the_same_small_number_of_failures_in_every_run_is_no_change() {
        let failed = |counts: &[u64]| {
            let runs = counts.iter().map(|count| proportion(*count, 1000).unwrap());
            MetricAcrossRuns::new(
                MetricKind::Share,
                runs.map(|run| run.map(|share| share * 100.0)).collect(),
            )
        };
        let differs = |counts: &[u64]| {
            let none = failed(&vec![0; counts.len()]);
            none.difference(&failed(counts)).unwrap().excludes(0.0)
        };
        assert!(!differs(&[1, 1, 1]));
        assert!(differs(&[30, 30, 30]));
        assert!(differs(&[50, 50]), "two runs find the change");
        assert!(
            !differs(&[0, 0, 90]),
            "the failures of a single run are no change"
        );
    }
}
