//! A number over all runs of a side. Pure.
//!
//! Of several runs, the value of each is one observation, and what they differ by is all that chance does to a run: to its
//! requests, and to the run as a whole, as a neighbour on the machine or a start of the server does. The range is Student's,
//! the difference of two sides is Welch's. Latencies are taken by their logarithms: what slows a machine multiplies them, some
//! runs are slower by far and none is faster by as much, and a difference of logarithms is one in percent.
//!
//! The range of a run by itself plays no part in that. It takes seconds that differ for shifted_exponential, and those of a load that
//! rises differ alike in every run.

use super::estimate::Estimate;
use crate::units::to_f64;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MetricKind {
    /// In milliseconds.
    Latency,
    /// Of requests that failed in what was due, in percent.
    Share,
}

impl MetricKind {
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Latency => "ms",
            Self::Share => "%",
        }
    }

    /// On the scale on which chance adds to it. Below a microsecond nothing was measured.
    fn scaled(self, value: f64) -> f64 {
        match self {
            Self::Latency => value.max(0.001).ln(),
            Self::Share => value,
        }
    }

    fn unscaled(self, value: f64) -> f64 {
        match self {
            Self::Latency => value.exp(),
            Self::Share => value.clamp(0.0, 100.0),
        }
    }

    /// A difference on that scale, in percent or percentage points.
    fn percent(self, difference: f64) -> f64 {
        match self {
            Self::Latency => difference.exp_m1() * 100.0,
            Self::Share => difference,
        }
    }
}

/// A number in each run of a side.
#[derive(Debug)]
pub(crate) struct MetricAcrossRuns {
    kind: MetricKind,
    runs: Vec<Estimate>,
}

impl MetricAcrossRuns {
    /// In at least one run.
    pub(crate) fn new(kind: MetricKind, runs: Vec<Estimate>) -> Self {
        Self { kind, runs }
    }

    /// The number of the side, with its range.
    pub(crate) fn estimate(&self) -> Estimate {
        let Some(mean) = self.mean() else {
            return self.runs[0];
        };
        mean.range().map(|value| self.kind.unscaled(value))
    }

    /// How much more it is in the other, in percent; of shares, in percentage points. `None` unless both have several runs.
    pub(crate) fn difference(&self, after: &Self) -> Option<Estimate> {
        let difference = after.mean()?.minus(self.mean()?).range();
        Some(difference.map(|value| self.kind.percent(value)))
    }

    /// `None` of one run.
    fn mean(&self) -> Option<Mean> {
        let [_, _, ..] = self.runs.as_slice() else {
            return None;
        };
        let count = to_f64(self.runs.len() as u64);
        let values = self.runs.iter().map(|run| self.kind.scaled(run.value));
        let value = values.clone().sum::<f64>() / count;
        let spread: f64 = values.map(|of_run| (of_run - value).powi(2)).sum();
        // Small counts are often the same by chance: three runs with one failure each do not make the share certain.
        let least = match self.kind {
            MetricKind::Latency => 0.0,
            MetricKind::Share => self.runs.iter().map(|run| run.standard_error().powi(2)).sum::<f64>() / count,
        };
        let variance = spread / (count - 1.0);
        Some(Mean {
            value,
            variance: variance.max(least) / count,
            // What counts vary by is known, not estimated.
            degrees_of_freedom: if variance > least {
                count - 1.0
            } else {
                f64::INFINITY
            },
        })
    }
}

/// A mean, or the difference of two.
#[derive(Clone, Copy, Debug)]
struct Mean {
    value: f64,
    /// Of the mean, not of what it is the mean of.
    variance: f64,
    /// The degrees of degrees_of_freedom that the variance is estimated with.
    degrees_of_freedom: f64,
}

impl Mean {
    /// With Welch's and Satterthwaite's degrees of degrees_of_freedom.
    fn minus(self, other: Self) -> Self {
        let variance = self.variance + other.variance;
        let parts = self.variance.powi(2) / self.degrees_of_freedom + other.variance.powi(2) / other.degrees_of_freedom;
        Self {
            value: self.value - other.value,
            variance,
            degrees_of_freedom: variance.powi(2) / parts,
        }
    }

    fn range(self) -> Estimate {
        let off = if self.variance > 0.0 {
            student_t_quantile(self.degrees_of_freedom) * self.variance.sqrt()
        } else {
            0.0
        };
        Estimate {
            value: self.value,
            low: self.value - off,
            high: Some(self.value + off),
        }
    }
}

/// Of Student's distribution, for 95 %: the quantile at 0.975 for degrees of degrees_of_freedom from 1 on.
///
/// Between those of the table it is nearly straight over their reciprocal: at most 2 % too much above 2, 19 % below, where
/// only two runs a side lead.
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
    let after = TABLE
        .iter()
        .position(|(of, _)| *of > degrees_of_freedom)
        .unwrap_or(TABLE.len() - 1)
        .max(1);
    let ((below, high), (above, low)) = (TABLE[after - 1], TABLE[after]);
    let part = (1.0 / degrees_of_freedom - 1.0 / above) / (1.0 / below - 1.0 / above);
    low + part * (high - low)
}

#[cfg(test)]
mod tests {
    use super::{super::estimate::proportion, *};

    #[test]
    fn quantiles_of_student_are_near_the_true_ones() {
        for (degrees_of_freedom, truth) in [
            (1.0, 12.706),
            (1.5, 6.017),
            (2.0, 4.303),
            (2.5, 3.575),
            (8.0, 2.306),
            (12.0, 2.179),
            (100.0, 1.984),
        ] {
            let off = student_t_quantile(degrees_of_freedom) / truth;
            let most = if degrees_of_freedom < 2.0 { 1.19 } else { 1.02 };
            assert!((0.999..most).contains(&off), "{off} times that of {degrees_of_freedom}");
        }
    }

    fn observed(kind: MetricKind, values: &[f64]) -> MetricAcrossRuns {
        let runs = values.iter().map(|value| Estimate {
            value: *value,
            low: *value,
            high: Some(*value),
        });
        MetricAcrossRuns::new(kind, runs.collect())
    }

    fn is_near(estimate: Estimate, low: f64, value: f64, high: f64) {
        let off = [
            estimate.low - low,
            estimate.value - value,
            estimate.high.unwrap() - high,
        ];
        assert!(
            off.iter().all(|off| off.abs() < 0.02),
            "{estimate:?} is not {value} ({low} … {high})"
        );
    }

    #[test]
    fn the_range_is_that_of_student_and_the_difference_that_of_welch() {
        let before = observed(MetricKind::Share, &[1.0, 2.0, 3.0]);
        let after = observed(MetricKind::Share, &[3.0, 5.0, 7.0]);
        // Worked out by hand: the variances are 1 and 4, those of the means 1/3 and 4/3; 2 degrees of degrees_of_freedom.
        is_near(before.estimate(), 0.0, 2.0, 2.0 + 4.303 * 0.577);
        is_near(after.estimate(), 5.0 - 4.303 * 1.155, 5.0, 5.0 + 4.303 * 1.155);
        // (5/3)² / ((1/3)² / 2 + (4/3)² / 2) = 2.94 degrees of degrees_of_freedom, of which the quantile is 3.22.
        let off = 3.22 * 1.291;
        is_near(before.difference(&after).unwrap(), 3.0 - off, 3.0, 3.0 + off);
    }

    #[test]
    fn latencies_differ_by_factors() {
        let before = observed(MetricKind::Latency, &[1.0, 2.0, 4.0]);
        let after = observed(MetricKind::Latency, &[2.0, 4.0, 8.0]);
        // The logarithms to base 2 are 0, 1, 2, of which the variance is 1, that of the mean 1/3.
        let off = (4.303_f64 * 0.577).exp2();
        is_near(before.estimate(), 2.0 / off, 2.0, 2.0 * off);
        let off = (2.776_f64 * 0.816).exp2();
        let percent = |factor: f64| (factor - 1.0) * 100.0;
        for (one, other, factor) in [(&before, &after, 2.0), (&after, &before, 0.5)] {
            let difference = one.difference(other).unwrap();
            let near = |seen: f64, factor: f64| (seen / percent(factor) - 1.0).abs() < 0.01;
            assert!(
                near(difference.value, factor)
                    && near(difference.low, factor / off)
                    && near(difference.high.unwrap(), factor * off),
                "{difference:?}"
            );
        }
    }

    #[test]
    fn runs_that_are_all_alike_leave_no_range() {
        let two = observed(MetricKind::Latency, &[2.0, 2.0]);
        let three = observed(MetricKind::Latency, &[3.0, 3.0]);
        is_near(two.difference(&three).unwrap(), 50.0, 50.0, 50.0);
        assert!(!two.difference(&two).unwrap().excludes(0.0));
    }

    #[test]
    fn few_failures_are_chance_though_every_run_has_as_many() {
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
        assert!(differs(&[50, 50]), "two runs see what one run each sees");
        assert!(!differs(&[0, 0, 90]), "what one run had alone is no change");
    }
}
