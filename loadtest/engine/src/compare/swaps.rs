//! Compares one run with one run: a permutation test that swaps parts of the runs. Pure.
//!
//! Both runs sent the same load. If the servers are identical, each part of one run could as well be the same part of the
//! other run, so the difference between them could as well have the other sign. The test makes all combinations of signs,
//! and counts how many of them produce at least the observed difference. It is valid for any distribution of the
//! latencies, however heavy its tail, and for a load that changes over time.
//!
//! - Differences are divided by their standard error (Student's t). Otherwise a real difference would also increase the
//!   differences of the other combinations.
//! - Requests in the same part may depend on each other. A disturbance that is longer than a part affects its
//!   neighbours, too. Therefore the standard error of the observed difference increases if neighbouring parts resemble
//!   each other.
//! - Each comparison has several numbers. The p-value of a number counts the combinations in which any number is as
//!   unlikely (Westfall and Young, 1993). Therefore it is the probability that any of the numbers differs by chance.

use crate::units::to_f64;

/// The minimum number of parts. With fewer parts, a change of a single number cannot be significant: one of 2^(n-1)
/// combinations for each of 6 numbers is above 5 %.
pub(crate) const MIN_PARTS: usize = 8;

/// The maximum number of parts. More parts would find hardly more, and double the number of combinations.
const MAX_PARTS: usize = 12;

/// The length of a part in seconds, where the number of parts allows it. Shorter parts resemble their neighbours more.
const PART_SECONDS: usize = 5;

/// The upper limit for the correlation of neighbouring parts, which is inaccurate for few parts.
const MAX_CORRELATION: f64 = 0.9;

/// Returns the number of parts of a run with this number of seconds. A part has at least one second.
pub(crate) fn part_count(seconds: usize) -> usize {
    (seconds / PART_SECONDS)
        .clamp(MIN_PARTS, MAX_PARTS)
        .min(seconds.max(1))
}

/// Returns the p-value of each number. `differences` has, for each number, the difference of each part.
///
/// All numbers must have equally many parts, at least [`MIN_PARTS`].
pub(crate) fn p_values(differences: &[Vec<f64>]) -> Vec<f64> {
    let tests: Vec<Test> = differences.iter().map(|parts| Test::new(parts)).collect();
    let combinations = tests.first().map_or(0, |test| test.scores.len());
    // For each combination, the p-value of its most unlikely number.
    let least: Vec<f64> = (0..combinations)
        .map(|combination| {
            let p_values = tests.iter().map(|test| test.p_value(test.scores[combination]));
            p_values.fold(1.0, f64::min)
        })
        .collect();
    let adjusted = |test: &Test| {
        let p_value = test.p_value(test.observed);
        share(
            least.iter().filter(|least| **least <= p_value).count(),
            least.len(),
        )
    };
    tests.iter().map(adjusted).collect()
}

fn share(count: usize, total: usize) -> f64 {
    to_f64(count as u64) / to_f64(total as u64)
}

/// The test of one number.
struct Test {
    /// The observed difference divided by its standard error, which includes the correlation of neighbouring parts.
    observed: f64,
    /// The difference of each combination of signs, divided by its standard error.
    scores: Vec<f64>,
    /// The absolute scores in increasing order.
    sorted: Vec<f64>,
}

impl Test {
    fn new(differences: &[f64]) -> Self {
        // The sign of the last part never changes: its combinations are those of this list with all signs reversed.
        let combinations = 0_usize..1 << (differences.len() - 1);
        let scores: Vec<f64> = combinations
            .map(|combination| {
                let parts = differences.iter().enumerate();
                let signed = parts.map(|(part, difference)| {
                    let is_swapped = (combination >> part) & 1 == 1;
                    if is_swapped { -difference } else { *difference }
                });
                score(&signed.collect::<Vec<_>>())
            })
            .collect();
        let mut sorted: Vec<f64> = scores.iter().map(|score| score.abs()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let correlation = correlation(differences);
        Self {
            // The standard error of the mean of a first-order autoregressive process.
            observed: scores[0] / ((1.0 + correlation) / (1.0 - correlation)).sqrt(),
            scores,
            sorted,
        }
    }

    /// Returns the share of the combinations with at least this score.
    fn p_value(&self, score: f64) -> f64 {
        let smaller = self.sorted.partition_point(|other| *other < score.abs());
        share(self.sorted.len() - smaller, self.sorted.len())
    }
}

/// Returns the mean divided by its standard error; infinite if all values are equal, and 0 if they are 0.
fn score(values: &[f64]) -> f64 {
    const ROUNDING: f64 = 1e-9;
    let count = to_f64(values.len() as u64);
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let error = (squares / (count - 1.0) / count).sqrt();
    if mean == 0.0 {
        0.0
    } else if error <= ROUNDING * mean.abs() {
        mean.signum() * f64::INFINITY
    } else {
        mean / error
    }
}

/// Returns the correlation between neighbours; 0 if it is negative.
fn correlation(values: &[f64]) -> f64 {
    let count = to_f64(values.len() as u64);
    let mean = values.iter().sum::<f64>() / count;
    let variance: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    if variance <= 0.0 {
        return 0.0;
    }
    let pairs = values.windows(2);
    let covariance: f64 = pairs.map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum();
    // The estimate of few values is too low by (1 + 4 r) / n (Kendall, 1954).
    let unbiased = (count * covariance / variance + 1.0) / (count - 4.0);
    unbiased.clamp(0.0, MAX_CORRELATION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_of_every_part_is_the_least_likely_of_all_combinations() {
        let noise = [0.1, -0.2, 0.3, -0.1, 0.2, -0.3, 0.1, -0.2, 0.3, -0.1, 0.2, -0.3];
        let shifted = noise.map(|value| value + 10.0).to_vec();
        let p_values = p_values(&[shifted, noise.to_vec(), vec![0.0; 12], vec![3.0; 12]]);
        // One of 2,048 combinations for each of the numbers that can be unlikely.
        assert!(
            p_values[0] <= 3.0 / 2048.0 && p_values[3] <= 3.0 / 2048.0,
            "{p_values:?}"
        );
        assert!(p_values[1] > 0.5 && p_values[2] > 0.999, "{p_values:?}");
    }

    #[test]
    fn a_difference_of_neighbouring_parts_is_more_likely_than_one_of_scattered_parts() {
        let scattered = [1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0];
        let mut neighbouring = scattered;
        neighbouring.sort_unstable_by(f64::total_cmp);
        let [scattered, neighbouring] = [scattered, neighbouring].map(|parts| p_values(&[parts.to_vec()])[0]);
        assert!(
            scattered < 0.05 && neighbouring > 0.05,
            "{scattered} and {neighbouring}"
        );
    }
}
