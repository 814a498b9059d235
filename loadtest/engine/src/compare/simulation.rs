//! Random runs for the tests.

use hdrhistogram::Histogram;

use super::estimate::Sample;

/// Returns a sample of `seconds` seconds with `per_second` requests each. `latency` gives the latency of a request in a
/// second, in milliseconds.
pub(crate) fn sample(seconds: u32, per_second: u32, mut latency: impl FnMut(u32) -> f64) -> Sample {
    let mut latencies = Histogram::new(3).unwrap();
    let mut means = Vec::new();
    for second in 0..seconds {
        let values: Vec<f64> = (0..per_second).map(|_| latency(second)).collect();
        for value in &values {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a few milliseconds"
            )]
            latencies.record((value * 1000.0) as u64).unwrap();
        }
        means.push((
            per_second.into(),
            values.iter().sum::<f64>() / f64::from(per_second),
        ));
    }
    Sample::new(latencies, &means)
}

/// Returns a value of an exponential distribution with this mean, shifted by a tenth of the mean.
pub(crate) fn shifted_exponential(random: &mut fastrand::Rng, mean: f64) -> f64 {
    mean * (0.1 - 0.9 * (1.0 - random.f64()).ln())
}

/// Returns a value of a normal distribution around 0 with this standard deviation.
///
/// The sum of twelve uniform values has a standard deviation of 1.
pub(crate) fn normal(random: &mut fastrand::Rng, deviation: f64) -> f64 {
    deviation * ((0..12).map(|_| random.f64()).sum::<f64>() - 6.0)
}
