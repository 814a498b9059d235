//! Compares the numbers of both sides one by one. Pure.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    estimate::{Estimate, Sample, proportion},
    repeats::{MetricAcrossRuns, MetricKind},
    run::Run,
};

/// One number of both sides, and its change.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Row {
    /// The name of the number: `mean` or a percentile of the latency, or `failed`.
    pub name: &'static str,
    /// The unit of `before` and `after`: `ms`, or `%` of the scheduled requests.
    pub unit: &'static str,
    /// The number before; null if it was not measured.
    pub before: Option<Estimate>,
    /// The number after; null if it was not measured.
    pub after: Option<Estimate>,
    /// The increase from `before` to `after`, in percent (for `failed`, in percentage points); null unless both sides
    /// have several runs. Its interval decides whether there is a change.
    pub difference: Option<Estimate>,
    /// The change of the number.
    pub change: Change,
}

/// The change of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Chance explains the difference, or it is within the tolerance.
    None,
    /// The number is lower than before.
    Better,
    /// The number is higher than before.
    Worse,
    /// One of the runs does not have the number.
    Unknown,
}

/// The numbers of one run.
#[derive(Debug)]
pub struct RunMetrics {
    latencies: Sample,
    failed: Option<Estimate>,
}

impl RunMetrics {
    /// Returns the numbers of `run`.
    #[must_use]
    pub fn from_run(run: &Run) -> Self {
        Self {
            latencies: Sample::new(run.latency_histogram.clone(), &run.seconds()),
            failed: proportion(run.requests.failed, run.requests.scheduled).map(percent),
        }
    }
}

fn percent(share: Estimate) -> Estimate {
    share.map(|share| share * 100.0)
}

/// Compares all numbers of both sides. Each side must have at least one run.
///
/// A relative difference of up to `tolerance` (0.05 is 5 %) is no change.
#[must_use]
pub fn compare(before: &[RunMetrics], after: &[RunMetrics], tolerance: f64) -> Vec<Row> {
    let row = |name, kind, read: &dyn Fn(&RunMetrics) -> Option<Estimate>| {
        let side = |runs: &[RunMetrics]| {
            let runs: Option<Vec<Estimate>> = runs.iter().map(read).collect();
            Some(MetricAcrossRuns::new(kind, runs?))
        };
        row(name, kind, side(before), side(after), tolerance)
    };
    vec![
        row("mean", MetricKind::Latency, &|run| run.latencies.mean()),
        row("p50", MetricKind::Latency, &|run| run.latencies.quantile(0.5)),
        row("p90", MetricKind::Latency, &|run| run.latencies.quantile(0.9)),
        row("p99", MetricKind::Latency, &|run| run.latencies.quantile(0.99)),
        row("p99.9", MetricKind::Latency, &|run| run.latencies.quantile(0.999)),
        row("failed", MetricKind::Share, &|run| run.failed),
    ]
}

/// Compares one number. A lower number is better.
fn row(
    name: &'static str,
    kind: MetricKind,
    before: Option<MetricAcrossRuns>,
    after: Option<MetricAcrossRuns>,
    tolerance: f64,
) -> Row {
    let mut row = Row {
        name,
        unit: kind.unit(),
        before: before.as_ref().map(MetricAcrossRuns::estimate),
        after: after.as_ref().map(MetricAcrossRuns::estimate),
        difference: before
            .zip(after)
            .and_then(|(before, after)| before.difference(&after)),
        change: Change::Unknown,
    };
    if let (Some(before), Some(after)) = (row.before, row.after) {
        let differs = match row.difference {
            Some(difference) => difference.excludes(0.0),
            None => before.differs_from(&after),
        };
        let is_change = differs && (after.value - before.value).abs() > tolerance * before.value;
        row.change = match (is_change, after.value > before.value) {
            (false, _) => Change::None,
            (true, true) => Change::Worse,
            (true, false) => Change::Better,
        };
    }
    row
}

#[cfg(test)]
mod tests {
    use super::{
        super::simulation::{normal, sample},
        *,
    };

    fn measured(latencies: Sample) -> RunMetrics {
        RunMetrics {
            latencies,
            failed: proportion(0, 100).map(percent),
        }
    }

    /// Makes 100 comparisons with `runs` runs per side, and returns how many find a change of the mean and how many
    /// find it worse.
    ///
    /// The server of the second side is slower by `factor`. In addition, each run has a random factor for its machine.
    fn found_changes(runs: u32, factor: f64) -> (u32, u32) {
        let mut random = fastrand::Rng::with_seed(7);
        let mut side = |mean: f64| -> Vec<RunMetrics> {
            let run = |_| {
                let mean = mean * normal(&mut random, 0.1).exp();
                measured(sample(2, 50, |_| mean * (0.8 + 0.4 * random.f64())))
            };
            (0..runs).map(run).collect()
        };
        let changes = (0..100).map(|_| compare(&side(1.0), &side(factor), 0.05)[0].change);
        changes.fold((0, 0), |(changed, worse), change| {
            (
                changed + u32::from(change != Change::None),
                worse + u32::from(change == Change::Worse),
            )
        })
    }

    #[test]
    fn only_several_runs_per_side_distinguish_machine_noise_from_a_change_of_the_server() {
        let (false_changes, _) = found_changes(1, 1.0);
        assert!(
            false_changes > 50,
            "one run per side found {false_changes} false changes of 100"
        );
        // The expected value is 5 of 100, plus three standard deviations of 2.2.
        for runs in [2, 3, 5] {
            let (false_changes, _) = found_changes(runs, 1.0);
            assert!(
                false_changes <= 11,
                "{runs} runs per side found {false_changes} false changes of 100"
            );
        }
        let (_, worse) = found_changes(5, 1.3);
        assert!(worse >= 85, "a slowdown of 30 % was found {worse} times of 100");
        let (_, worse) = found_changes(5, 1.0 / 1.3);
        assert_eq!(worse, 0);
    }

    #[test]
    fn a_load_that_rises_equally_in_every_run_does_not_hide_a_change() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut side = |mean: f64| -> Vec<RunMetrics> {
            let mut run = |_| {
                measured(sample(10, 20, |second| {
                    mean * f64::from(second + 1) * (0.95 + 0.1 * random.f64())
                }))
            };
            (0..3).map(&mut run).collect()
        };
        let (before, after) = (side(10.0), side(11.5));
        assert_eq!(compare(&before[..1], &after[..1], 0.05)[0].change, Change::None);
        assert_eq!(compare(&before, &after, 0.05)[0].change, Change::Worse);
    }
}
