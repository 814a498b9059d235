//! Random runs for the tests.

use fastrand::Rng;
use hdrhistogram::Histogram;

use super::{numbers::RunMetrics, requests::Requests, swaps::part_count};
use crate::units::to_f64;

/// A kind of server whose latencies are hard to compare.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Servers {
    /// Independent latencies of a Pareto distribution with infinite variance.
    HeavyTail,
    /// A heavy tail, and a level that changes slowly: its logarithm has a correlation of 0.7 from second to second.
    Drifting,
    /// A stall of up to 3.5 s about every 20 s, which all requests wait for.
    Stalling,
    /// An outage of up to 5 s about every 25 s, in which most requests time out.
    WithOutages,
}

impl Servers {
    /// Returns a run. All latencies are multiplied by `factor`.
    pub(crate) fn run(self, seconds: u32, per_second: u32, factor: f64, random: &mut Rng) -> RunMetrics {
        let (mut level, mut last_second) = (normal(random, 1.0), -1.0);
        let mut end_of_trouble: f64 = 0.0;
        run(seconds, per_second, |time| {
            if time.floor() > last_second {
                last_second = time.floor();
                level = 0.7 * level + normal(random, (1.0_f64 - 0.7 * 0.7).sqrt());
                match self {
                    Self::Stalling if random.f64() < 0.05 => end_of_trouble = time + 0.5 + 3.0 * random.f64(),
                    Self::WithOutages if random.f64() < 0.04 => {
                        end_of_trouble = time + 1.0 + 4.0 * random.f64();
                    }
                    _ => {}
                }
            }
            let left = (end_of_trouble - time).max(0.0);
            let uniform = 1.0 - random.f64();
            let exponential = 1.0 - 9.0 * uniform.ln();
            match self {
                Self::HeavyTail => Some(factor * 5.0 * uniform.powf(-1.0 / 1.5)),
                Self::Drifting => Some(factor * 5.0 * uniform.powf(-0.5) * (0.5 * level).exp()),
                Self::Stalling => Some(factor * (exponential + 1000.0 * left)),
                Self::WithOutages if left > 0.0 && random.f64() < 0.7 => None,
                Self::WithOutages => Some(factor * exponential),
            }
        })
    }
}

/// Returns a run with `per_second` requests per second. `latency` gives the latency of the request at a time, in
/// milliseconds; `None` for a request that times out after 10 s.
pub(crate) fn run(seconds: u32, per_second: u32, mut latency: impl FnMut(f64) -> Option<f64>) -> RunMetrics {
    let new = || Requests {
        // Two digits instead of three make the tests faster.
        latencies: Histogram::new(2).unwrap(),
        scheduled: 0,
        failed: 0,
    };
    let (seconds, per_second) = (u64::from(seconds), u64::from(per_second));
    let count = part_count(usize::try_from(seconds).unwrap()) as u64;
    let mut run = RunMetrics {
        all: new(),
        parts: (0..count).map(|_| new()).collect(),
    };
    for request in 0..seconds * per_second {
        let part = usize::try_from(request * count / (seconds * per_second)).unwrap();
        let latency = latency(to_f64(request) / to_f64(per_second));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "some milliseconds"
        )]
        let microseconds = (latency.unwrap_or(10_000.0) * 1000.0) as u64;
        for requests in [&mut run.all, &mut run.parts[part]] {
            requests.latencies.record(microseconds).unwrap();
            requests.scheduled += 1;
            requests.failed += u64::from(latency.is_none());
        }
    }
    run
}

/// Returns a value of a normal distribution around 0 with this standard deviation.
///
/// The sum of twelve uniform values has a standard deviation of 1.
pub(crate) fn normal(random: &mut Rng, deviation: f64) -> f64 {
    deviation * ((0..12).map(|_| random.f64()).sum::<f64>() - 6.0)
}
