//! The median and worst times of several runs. Pure functions.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    breakdown::{StageTime, TimeToScale},
    estimate::TimeEstimate,
    stage::Stage,
};

/// The median and the maximum over several runs, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Spread {
    /// The median, in seconds.
    pub median: f64,
    /// The maximum, in seconds.
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

/// The times of one stage over several runs. Each run contributes the pod that became ready last.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct StageSpread {
    /// The name of the HPA.
    pub hpa: String,
    /// The stage.
    pub stage: Stage,
    /// The number of runs in which the stage was seen.
    pub runs: usize,
    /// The time since the load began; null if no run has it.
    pub at: Option<Spread>,
    /// The time since the previous stage; null if no run has it.
    pub took: Option<Spread>,
    /// The maximum error of one of these times, in seconds.
    pub error: f64,
}

impl StageSpread {
    /// Returns the cells of a table row: median and worst time since the load began, median and worst time since the
    /// previous stage, maximum error, and number of runs. Times are in seconds.
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

/// Computes the spread of each stage over all runs, by HPA.
#[must_use]
pub fn spread(runs: &[&[TimeToScale]]) -> Vec<StageSpread> {
    let Some(first) = runs.first() else {
        return Vec::new();
    };
    let stage_spread = |hpa: &str, stage: Stage| {
        let paths = runs
            .iter()
            .flat_map(|run| run.iter())
            .filter(|time| time.hpa == hpa);
        let times: Vec<StageTime> = paths
            .filter_map(|time| {
                time.last()?
                    .stages
                    .iter()
                    .find(|time| time.stage == stage)
                    .copied()
            })
            .collect();
        let estimates = |read: fn(&StageTime) -> Option<TimeEstimate>| -> Vec<TimeEstimate> {
            times.iter().filter_map(read).collect()
        };
        let (at, took) = (estimates(|time| time.at), estimates(|time| time.took));
        let values =
            |estimates: &[TimeEstimate]| Spread::of(estimates.iter().map(|time| time.seconds).collect());
        StageSpread {
            hpa: hpa.to_owned(),
            stage,
            runs: at.len(),
            at: values(&at),
            took: values(&took),
            error: at.iter().chain(&took).map(|time| time.error).fold(0.0, f64::max),
        }
    };
    first
        .iter()
        .flat_map(|time| Stage::ALL.map(|stage| stage_spread(&time.hpa, stage)))
        // Without a new node, no pod has the stages of one.
        .filter(|spread| spread.at.is_some() || !spread.stage.is_of_node())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{super::breakdown::PodPath, *};

    fn of_pods() -> impl Iterator<Item = Stage> {
        Stage::ALL.into_iter().filter(|stage| !stage.is_of_node())
    }

    /// Returns a run in which the HPA decided at `at`, 5 s of which belong to earlier stages.
    fn run(at: f64) -> Vec<TimeToScale> {
        let estimate = |seconds| Some(TimeEstimate { seconds, error: 0.25 });
        let stage = |stage| StageTime {
            stage,
            at: estimate(at).filter(|_| stage == Stage::Decided),
            took: estimate(at - 5.0).filter(|_| stage == Stage::Decided),
        };
        vec![TimeToScale {
            hpa: "app-a".to_owned(),
            since_sync: None,
            pods: vec![PodPath {
                pod: "new".to_owned(),
                stages: of_pods().map(stage).collect(),
            }],
            problems: BTreeMap::new(),
        }]
    }

    #[test]
    fn spread_has_the_median_and_the_maximum_of_each_stage() {
        let runs = [20.0, 40.0, 25.0, 26.0].map(run);
        let runs: Vec<&[TimeToScale]> = runs.iter().map(|run| &run[..]).collect();
        let all = spread(&runs);
        assert_eq!(all.len(), of_pods().count());
        let decided = all.iter().find(|spread| spread.stage == Stage::Decided).unwrap();
        assert_eq!(decided.runs, 4);
        assert_eq!(
            decided.cells(),
            ["25.50", "40.00", "20.50", "35.00", "±0.25", "4"]
        );
        let ready = all.iter().find(|spread| spread.stage == Stage::Ready).unwrap();
        assert_eq!((ready.runs, ready.at), (0, None), "no run has the stage");
    }
}
