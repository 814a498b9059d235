//! The numbers of both sides, one by one, and what became of each. Pure.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    estimate::{Estimate, Sample, proportion},
    repeats::{MetricKind, MetricAcrossRuns},
    run::Run,
};

/// One number of both sides.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Row {
    /// Which: `mean` or a percentile of the latency, or `failed`.
    pub name: &'static str,
    /// Of `before` and `after`: `ms`, or `%` of what was due.
    pub unit: &'static str,
    /// Before; nothing where it was not measured.
    pub before: Option<Estimate>,
    /// After.
    pub after: Option<Estimate>,
    /// How much more it is after, in percent (`failed`: in points), where there are several runs; its range decides.
    pub difference: Option<Estimate>,
    /// What became of it.
    pub change: Change,
}

/// How a number changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Not to be told from shifted_exponential, or less than the tolerance.
    None,
    /// Less than before.
    Better,
    /// More than before.
    Worse,
    /// One of the runs has no such number.
    Unknown,
}

/// What a run says of each number.
#[derive(Debug)]
pub struct RunMetrics {
    latencies: Sample,
    failed: Option<Estimate>,
}

impl RunMetrics {
    /// The numbers of `run`.
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

/// Every number of the runs of both sides, of which there is at least one each. A change of up to `tolerance` is none.
#[must_use]
pub fn compare(before: &[RunMetrics], after: &[RunMetrics], tolerance: f64) -> Vec<Row> {
    let row = |name, kind, read: &dyn Fn(&RunMetrics) -> Option<Estimate>| {
        let of = |runs: &[RunMetrics]| {
            let runs: Option<Vec<Estimate>> = runs.iter().map(read).collect();
            Some(MetricAcrossRuns::new(kind, runs?))
        };
        row(name, kind, of(before), of(after), tolerance)
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

/// Less is better, of every number here.
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
        let matters = differs && (after.value - before.value).abs() > tolerance * before.value;
        row.change = match (matters, after.value > before.value) {
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

    /// In how many of 100 comparisons of so many runs a side the mean is not the same, and in how many it is worse, where the
    /// server after is slower by `factor`, and the machine, in each run, by a factor of its own.
    fn found(runs: u32, factor: f64) -> (u32, u32) {
        let mut random = fastrand::Rng::with_seed(7);
        let mut side = |mean: f64| -> Vec<RunMetrics> {
            let run = |_| {
                let mean = mean * normal(&mut random, 0.1).exp();
                measured(sample(2, 50, |_| mean * (0.8 + 0.4 * random.f64())))
            };
            (0..runs).map(run).collect()
        };
        let changes = (0..100).map(|_| compare(&side(1.0), &side(factor), 0.05)[0].change);
        changes.fold((0, 0), |(other, worse), change| {
            (
                other + u32::from(change != Change::None),
                worse + u32::from(change == Change::Worse),
            )
        })
    }

    #[test]
    fn what_a_machine_does_to_a_run_is_told_from_a_change_by_several_runs_and_not_by_one() {
        let (by_one, _) = found(1, 1.0);
        assert!(by_one > 50, "one run each differed {by_one} times of 100");
        // 5 of 100, and three standard deviations of 2.2.
        for runs in [2, 3, 5] {
            let (by_several, _) = found(runs, 1.0);
            assert!(
                by_several <= 11,
                "{runs} runs each differed {by_several} times of 100"
            );
        }
        let (_, worse) = found(5, 1.3);
        assert!(worse >= 85, "30 % was found {worse} times of 100");
        let (_, worse) = found(5, 1.0 / 1.3);
        assert_eq!(worse, 0);
    }

    #[test]
    fn seconds_that_differ_alike_in_every_run_do_not_hide_a_change() {
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
