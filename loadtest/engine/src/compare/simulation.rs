//! Runs as chance would make them, for the tests.

use hdrhistogram::Histogram;

use super::estimate::Sample;

/// Seconds of so many requests, in each of which `latency` says how long one takes, in milliseconds.
pub(crate) fn sample(seconds: u32, each: u32, mut latency: impl FnMut(u32) -> f64) -> Sample {
    let mut latencies = Histogram::new(3).unwrap();
    let mut means = Vec::new();
    for second in 0..seconds {
        let of_second: Vec<f64> = (0..each).map(|_| latency(second)).collect();
        for value in &of_second {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "some milliseconds"
            )]
            latencies.record((value * 1000.0) as u64).unwrap();
        }
        means.push((each.into(), of_second.iter().sum::<f64>() / f64::from(each)));
    }
    Sample::new(latencies, &means)
}

/// Of an exponential distribution with this mean, moved from 0 by a tenth of it.
pub(crate) fn shifted_exponential(random: &mut fastrand::Rng, mean: f64) -> f64 {
    mean * (0.1 - 0.9 * (1.0 - random.f64()).ln())
}

/// Of a normal distribution around 0 with this standard deviation; the sum of twelve has one of 1.
pub(crate) fn normal(random: &mut fastrand::Rng, deviation: f64) -> f64 {
    deviation * ((0..12).map(|_| random.f64()).sum::<f64>() - 6.0)
}
