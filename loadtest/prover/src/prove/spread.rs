//! The times of several runs, put together. Pure.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    breakdown::{TimeEstimate, StageTime, TimeToScale},
    stage::Stage,
};

/// The middle one and the largest of several runs, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Spread {
    /// Median, in seconds.
    pub median: f64,
    /// Largest, in seconds.
    pub worst: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let worst = *values.last()?;
        let (lower, upper) = ((values.len() - 1) / 2, values.len() / 2);
        Some(Self {
            median: f64::midpoint(values[lower], values[upper]),
            worst,
        })
    }
}

/// A stage over several runs, on the way to the pod that was ready last in each.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct StageSpread {
    /// The HPA.
    pub hpa: String,
    /// The stage.
    pub stage: Stage,
    /// Runs in which it was seen.
    pub runs: usize,
    /// Since the load began; nothing where it was seen in no run.
    pub at: Option<Spread>,
    /// Since the stage before.
    pub took: Option<Spread>,
    /// How far one of these times is off at the most, in seconds.
    pub error: f64,
}

impl StageSpread {
    /// As texts: when it was reached, median and worst, what it took, median and worst, how far these may be off, and in how
    /// many runs it was seen.
    #[must_use]
    pub fn cells(&self) -> [String; 6] {
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
        [
            number(self.at.map(|at| at.median)),
            number(self.at.map(|at| at.worst)),
            number(self.took.map(|took| took.median)),
            number(self.took.map(|took| took.worst)),
            format!("±{:.2}", self.error),
            self.runs.to_string(),
        ]
    }
}

/// Every stage over all runs.
#[must_use]
pub fn spread(runs: &[&[TimeToScale]]) -> Vec<StageSpread> {
    let Some(first) = runs.first() else {
        return Vec::new();
    };
    let of = |hpa: &str, stage: Stage| {
        let paths = runs
            .iter()
            .flat_map(|run| run.iter())
            .filter(|one| one.hpa == hpa);
        let times: Vec<StageTime> = paths
            .filter_map(|one| {
                one.last()?
                    .stages
                    .iter()
                    .find(|time| time.stage == stage)
                    .copied()
            })
            .collect();
        let seconds = |read: fn(&StageTime) -> Option<TimeEstimate>| -> Vec<TimeEstimate> {
            times.iter().filter_map(read).collect()
        };
        let (at, took) = (seconds(|time| time.at), seconds(|time| time.took));
        let values = |measured: &[TimeEstimate]| Spread::of(measured.iter().map(|one| one.seconds).collect());
        StageSpread {
            hpa: hpa.to_owned(),
            stage,
            runs: at.len(),
            at: values(&at),
            took: values(&took),
            error: at.iter().chain(&took).map(|one| one.error).fold(0.0, f64::max),
        }
    };
    first
        .iter()
        .flat_map(|one| Stage::ALL.map(|stage| of(&one.hpa, stage)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{super::breakdown::PodPath, *};

    /// A run in which the HPA decided at `at`, having taken all of that but 5 s.
    fn run(at: f64) -> Vec<TimeToScale> {
        let reading = |seconds| Some(TimeEstimate { seconds, error: 0.25 });
        let stage = |stage| StageTime {
            stage,
            at: reading(at).filter(|_| stage == Stage::Decided),
            took: reading(at - 5.0).filter(|_| stage == Stage::Decided),
        };
        vec![TimeToScale {
            hpa: "app-a".to_owned(),
            pods: vec![PodPath {
                pod: "new".to_owned(),
                stages: Stage::ALL.map(stage).into(),
            }],
            problems: BTreeMap::new(),
        }]
    }

    #[test]
    fn several_runs_have_a_median_and_a_worst() {
        let runs = [20.0, 40.0, 25.0, 26.0].map(run);
        let runs: Vec<&[TimeToScale]> = runs.iter().map(|run| &run[..]).collect();
        let all = spread(&runs);
        assert_eq!(all.len(), Stage::ALL.len());
        let decided = all.iter().find(|one| one.stage == Stage::Decided).unwrap();
        assert_eq!(decided.runs, 4);
        assert_eq!(
            decided.cells(),
            ["25.50", "40.00", "20.50", "35.00", "±0.25", "4"]
        );
        let ready = all.iter().find(|one| one.stage == Stage::Ready).unwrap();
        assert_eq!((ready.runs, ready.at), (0, None), "it was seen in no run");
    }
}
