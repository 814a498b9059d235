//! The shift between two samples: the Hodges–Lehmann estimate and its confidence interval, which belong to the test of Mann and
//! Whitney. Pure functions.

use std::cmp::Ordering;

/// The number of standard deviations to each side of the middle, at a confidence of 98 % (the normal distribution). 98 % is the
/// confidence of Kayenta's judge.
const DEVIATIONS: f64 = 2.326_347_874;

/// How much larger the values of the second sample are than those of the first, in their unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift {
    /// The median of all differences between a value of the second and a value of the first sample.
    pub estimate: f64,
    /// The lower end of the interval with a confidence of 98 %.
    pub low: f64,
    /// The upper end of the interval.
    pub high: f64,
}

impl Shift {
    /// Compares two samples.
    ///
    /// The interval contains exactly the shifts that the two-sided Mann–Whitney U test does not reject at a level of 2 %, with
    /// the normal approximation for the distribution of U (Hollander, Wolfe, Chicken: Nonparametric Statistical Methods, 4.3).
    /// There is no correction for ties, which would only narrow the interval. `None` without a value.
    #[must_use]
    pub fn between(first: &[f64], second: &[f64]) -> Option<Self> {
        let mut differences = Vec::with_capacity(first.len() * second.len());
        for later in second {
            differences.extend(first.iter().map(|earlier| later - earlier));
        }
        let last = differences.len().checked_sub(1)?;
        #[expect(clippy::cast_precision_loss, reason = "windows of some hundred values")]
        let (pairs, both) = (differences.len() as f64, (first.len() + second.len()) as f64);
        let deviation = (pairs * (both + 1.0) / 12.0).sqrt();
        let rank = (pairs / 2.0 - DEVIATIONS * deviation).round().max(1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at least 1, and at most half the number of pairs"
        )]
        let below = rank as usize - 1;
        let below = below.min(last / 2);
        // Selections are cheaper than a sort of all pairs. The first one divides the differences for the others.
        let middle = last / 2;
        let (lower, &mut median, upper) = differences.select_nth_unstable_by(middle, f64::total_cmp);
        let above = upper.iter().copied().min_by(f64::total_cmp).unwrap_or(median);
        let (low, high) = (below, last - below);
        let mut at = |rank: usize| match rank.cmp(&middle) {
            Ordering::Less => *lower.select_nth_unstable_by(rank, f64::total_cmp).1,
            Ordering::Equal => median,
            Ordering::Greater => *upper.select_nth_unstable_by(rank - middle - 1, f64::total_cmp).1,
        };
        Some(Self {
            estimate: f64::midpoint(median, if last.is_multiple_of(2) { median } else { above }),
            low: at(low),
            high: at(high),
        })
    }

    /// Returns whether the whole interval is at most `margin` from 0: the samples are shown not to differ by more.
    #[must_use]
    pub fn is_within(&self, margin: f64) -> bool {
        -margin <= self.low && self.high <= margin
    }
}

/// Returns the median; `None` without a value.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    Some(f64::midpoint(sorted[last / 2], sorted[last.div_ceil(2)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_is_the_median_of_the_differences() {
        let shift = Shift::between(&[1.0, 2.0, 3.0], &[11.0, 12.0, 13.0]).unwrap();
        assert!((shift.estimate - 10.0).abs() < 1e-12, "{shift:?}");
        // So few values exclude nothing: the interval contains all differences.
        assert!(
            (shift.low - 8.0).abs() < 1e-12 && (shift.high - 12.0).abs() < 1e-12,
            "{shift:?}"
        );
        assert_eq!(Shift::between(&[], &[1.0]), None);
    }

    #[test]
    fn equal_samples_have_no_shift_and_a_shift_shows_in_the_interval() {
        let values: Vec<f64> = (0..30).map(f64::from).collect();
        let same = Shift::between(&values, &values).unwrap();
        assert!(
            same.estimate.abs() < 1e-12 && (same.low + same.high).abs() < 1e-12,
            "{same:?}"
        );
        let later: Vec<f64> = values.iter().map(|value| value + 100.0).collect();
        let shifted = Shift::between(&values, &later).unwrap();
        assert!((shifted.estimate - 100.0).abs() < 1e-12, "{shifted:?}");
        assert!((shifted.low - same.low - 100.0).abs() < 1e-12, "{shifted:?}");
        assert!(same.is_within(6.0) && !same.is_within(1.0) && !shifted.is_within(6.0));
    }

    /// The rank for n = m = 30 at 98 %: 450 - 2.326 * sqrt(900 * 61 / 12) = 292.7, so the 293rd smallest difference.
    #[test]
    fn the_ends_of_the_interval_have_the_ranks_of_the_normal_approximation() {
        let first: Vec<f64> = (0..30).map(f64::from).collect();
        // All differences are distinct: 1000 j - i.
        let second: Vec<f64> = (0..30).map(|number| f64::from(number) * 1000.0).collect();
        let mut all: Vec<f64> = second
            .iter()
            .flat_map(|later| first.iter().map(move |earlier| later - earlier))
            .collect();
        all.sort_unstable_by(f64::total_cmp);
        let shift = Shift::between(&first, &second).unwrap();
        assert_eq!((shift.low, shift.high), (all[292], all[900 - 293]));
    }

    #[test]
    fn the_median_of_an_even_number_of_values_is_the_middle_of_two() {
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[]), None);
    }
}
