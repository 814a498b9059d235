//! Compares the numbers of both sides one by one. Pure.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    estimate::{Estimate, proportion},
    repeats::{MetricAcrossRuns, MetricKind},
    requests::{Number, Requests},
    run::Run,
    swaps::{self, MIN_PARTS},
};

/// The largest p-value of a change between two single runs.
const SIGNIFICANCE: f64 = 0.05;

/// The compared numbers with their names.
const NUMBERS: [(&str, Number); 6] = [
    ("mean", Number::Mean),
    ("p50", Number::Quantile(0.5)),
    ("p90", Number::Quantile(0.9)),
    ("p99", Number::Quantile(0.99)),
    ("p99.9", Number::Quantile(0.999)),
    ("failed", Number::Failed),
];

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
    /// The probability that two runs of identical servers differ as much in this number or in any other number; null
    /// unless both sides have one run. The number has changed if this is at most 0.05.
    pub p_value: Option<f64>,
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
    pub(crate) all: Requests,
    pub(crate) parts: Vec<Requests>,
}

impl RunMetrics {
    /// Returns the numbers of `run`.
    #[must_use]
    pub fn from_run(run: &Run) -> Self {
        Self {
            all: run.all(),
            parts: run.parts(),
        }
    }

    /// Returns a number, in milliseconds or percent; `None` if it was not measured.
    fn estimate(&self, number: Number) -> Option<Estimate> {
        match number {
            Number::Mean | Number::Quantile(_) => self.all.read(number).map(Estimate::without_interval),
            Number::Failed => {
                let share = proportion(self.all.failed, self.all.scheduled)?;
                Some(share.map(|share| share * 100.0))
            }
        }
    }
}

fn kind(number: Number) -> MetricKind {
    match number {
        Number::Mean | Number::Quantile(_) => MetricKind::Latency,
        Number::Failed => MetricKind::Share,
    }
}

/// Compares all numbers of both sides. Each side must have at least one run.
///
/// A relative difference of up to `tolerance` (0.05 is 5 %) is no change.
#[must_use]
pub fn compare(before: &[RunMetrics], after: &[RunMetrics], tolerance: f64) -> Vec<Row> {
    let p_values = match (before, after) {
        ([before], [after]) if before.parts.len().min(after.parts.len()) >= MIN_PARTS => {
            p_values(before, after).map(Some)
        }
        _ => [None; NUMBERS.len()],
    };
    let rows = NUMBERS.iter().zip(p_values);
    rows.map(|((name, number), p_value)| {
        let side = |runs: &[RunMetrics]| {
            let runs: Option<Vec<Estimate>> = runs.iter().map(|run| run.estimate(*number)).collect();
            Some(MetricAcrossRuns::new(kind(*number), runs?))
        };
        let (before, after) = (side(before), side(after));
        let both = before.as_ref().zip(after.as_ref());
        let row = Row {
            name,
            unit: kind(*number).unit(),
            before: before.as_ref().map(MetricAcrossRuns::estimate),
            after: after.as_ref().map(MetricAcrossRuns::estimate),
            difference: both.and_then(|(before, after)| before.difference(after)),
            p_value: both.and(p_value),
            change: Change::Unknown,
        };
        Row {
            change: change(&row, tolerance),
            ..row
        }
    })
    .collect()
}

/// Returns the p-value of each number of two single runs.
fn p_values(before: &RunMetrics, after: &RunMetrics) -> [f64; NUMBERS.len()] {
    let differences = NUMBERS.map(|(_, number)| -> Vec<f64> {
        let parts = before.parts.iter().zip(&after.parts);
        // A part without the number, for example without requests, has no difference.
        parts
            .map(|(before, after)| difference(number, before, after).unwrap_or(0.0))
            .collect()
    });
    let p_values = swaps::p_values(&differences);
    std::array::from_fn(|index| {
        // If the parts and the whole run disagree about the direction, the difference is not significant.
        let of_parts: f64 = differences[index].iter().sum();
        let of_run = difference(NUMBERS[index].1, &before.all, &after.all).unwrap_or(0.0);
        if of_parts * of_run > 0.0 {
            p_values[index]
        } else {
            1.0
        }
    })
}

/// Returns the increase of a number on the scale of its kind.
fn difference(number: Number, before: &Requests, after: &Requests) -> Option<f64> {
    let scaled = |requests: &Requests| Some(kind(number).scaled(requests.read(number)?));
    Some(scaled(after)? - scaled(before)?)
}

/// Returns the change of a number. A lower number is better.
fn change(row: &Row, tolerance: f64) -> Change {
    let differs = match (row.difference, row.p_value) {
        (Some(difference), _) => difference.excludes(0.0),
        (None, Some(p_value)) => p_value <= SIGNIFICANCE,
        (None, None) => return Change::Unknown,
    };
    let Some((before, after)) = row.before.zip(row.after) else {
        return Change::Unknown;
    };
    let is_change = differs && (after.value - before.value).abs() > tolerance * before.value;
    match (is_change, after.value > before.value) {
        (false, _) => Change::None,
        (true, true) => Change::Worse,
        (true, false) => Change::Better,
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::{
        super::simulation::{Servers, normal, run},
        *,
    };

    /// Makes `count` comparisons with `runs` runs per side, and returns how many find a change of the mean and how many
    /// find it worse.
    ///
    /// The server of the second side is slower by `factor`. In addition, each run has a random factor for its machine.
    fn found_changes(count: u32, runs: u32, factor: f64) -> (u32, u32) {
        let mut random = Rng::with_seed(7);
        let mut side = |mean: f64| -> Vec<RunMetrics> {
            let one = |_| {
                let mean = mean * normal(&mut random, 0.1).exp();
                run(12, 10, |_| Some(mean * (0.8 + 0.4 * random.f64())))
            };
            (0..runs).map(one).collect()
        };
        let changes = (0..count).map(|_| compare(&side(1.0), &side(factor), 0.05)[0].change);
        changes.fold((0, 0), |(changed, worse), change| {
            (
                changed + u32::from(change != Change::None),
                worse + u32::from(change == Change::Worse),
            )
        })
    }

    #[test]
    fn only_several_runs_per_side_distinguish_machine_noise_from_a_change_of_the_server() {
        let (false_changes, _) = found_changes(50, 1, 1.0);
        assert!(
            false_changes > 25,
            "one run per side found {false_changes} false changes of 50"
        );
        // The expected value is 5 of 100, plus three standard deviations of 2.2.
        for runs in [2, 3, 5] {
            let (false_changes, _) = found_changes(100, runs, 1.0);
            assert!(
                false_changes <= 11,
                "{runs} runs per side found {false_changes} false changes of 100"
            );
        }
        let (_, worse) = found_changes(100, 5, 1.3);
        assert!(worse >= 85, "a slowdown of 30 % was found {worse} times of 100");
        let (_, worse) = found_changes(100, 5, 1.0 / 1.3);
        assert_eq!(worse, 0);
    }

    #[test]
    fn a_load_that_rises_equally_in_every_run_does_not_hide_a_change() {
        let mut random = Rng::with_seed(7);
        let mut side = |mean: f64| -> Vec<RunMetrics> {
            let mut one = |_| {
                run(10, 20, |second| {
                    Some(mean * (second.floor() + 1.0) * (0.95 + 0.1 * random.f64()))
                })
            };
            (0..3).map(&mut one).collect()
        };
        let (before, after) = (side(10.0), side(11.5));
        assert_eq!(compare(&before[..1], &after[..1], 0.05)[0].change, Change::Worse);
        assert_eq!(compare(&before, &after, 0.05)[0].change, Change::Worse);
    }

    /// Compares single runs of `servers` of a minute, and returns the share that finds any change and the share that
    /// finds any number worse. The second server is slower by `factor`.
    fn found_in_single_runs(servers: Servers, factor: f64, count: u32) -> (f64, f64) {
        let mut random = Rng::with_seed(7);
        let (mut changed, mut worse) = (0, 0);
        for _ in 0..count {
            let before = servers.run(60, 50, 1.0, &mut random);
            let after = servers.run(60, 50, factor, &mut random);
            let rows = compare(&[before], &[after], 0.05);
            let any = |is: fn(Change) -> bool| u32::from(rows.iter().any(|row| is(row.change)));
            changed += any(|change| matches!(change, Change::Better | Change::Worse));
            worse += any(|change| change == Change::Worse);
        }
        (
            f64::from(changed) / f64::from(count),
            f64::from(worse) / f64::from(count),
        )
    }

    /// 400 comparisons with a probability of 5 % have a standard deviation of 1.1 %.
    fn assert_rarely_different(servers: Servers) {
        let (changed, _) = found_in_single_runs(servers, 1.0, 400);
        assert!(
            changed <= 0.08,
            "identical servers were called different in {:.1} % of the comparisons",
            changed * 100.0
        );
    }

    #[test]
    fn identical_servers_with_a_heavy_tail_are_rarely_called_different() {
        assert_rarely_different(Servers::HeavyTail);
    }

    #[test]
    fn identical_servers_whose_latency_drifts_are_rarely_called_different() {
        assert_rarely_different(Servers::Drifting);
    }

    #[test]
    fn identical_servers_that_stall_at_random_are_rarely_called_different() {
        assert_rarely_different(Servers::Stalling);
    }

    #[test]
    fn identical_servers_with_outages_are_rarely_called_different() {
        assert_rarely_different(Servers::WithOutages);
    }

    #[test]
    fn a_slower_server_is_found_with_one_run_of_each_side() {
        let (_, worse) = found_in_single_runs(Servers::HeavyTail, 1.3, 30);
        assert!(worse >= 0.9, "30 % slower was found in {:.0} %", worse * 100.0);
        let (_, worse) = found_in_single_runs(Servers::Drifting, 2.5, 30);
        assert!(worse >= 0.7, "150 % slower was found in {:.0} %", worse * 100.0);
        let (_, worse) = found_in_single_runs(Servers::HeavyTail, 1.0 / 1.3, 30);
        assert!(
            worse <= 0.1,
            "a faster server was called worse in {:.0} %",
            worse * 100.0
        );
    }

    #[test]
    fn runs_of_too_few_seconds_say_nothing() {
        let mut random = Rng::with_seed(7);
        let [before, after] = [1.0, 3.0].map(|factor| Servers::HeavyTail.run(7, 50, factor, &mut random));
        let rows = compare(&[before], &[after], 0.05);
        assert!(rows.iter().all(|row| row.change == Change::Unknown), "{rows:?}");
    }
}
