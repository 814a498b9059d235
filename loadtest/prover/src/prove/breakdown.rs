//! Where the time goes between a step of the load and the first request that a new pod serves: from what was seen of each
//! link to a time for each, with how far it can be off. Pure.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    plan::Expected,
    stage::Stage,
    trace::{PodTrace, TimeRange, Trace},
};

/// A time, and how far it is off at the most, both in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct TimeEstimate {
    /// The time, in the middle of what is possible, in seconds.
    pub seconds: f64,
    /// Half the width of what is possible, in seconds.
    pub error: f64,
}

impl TimeEstimate {
    fn between(least: f64, most: f64) -> Self {
        Self {
            seconds: f64::midpoint(least, most),
            error: (most - least) / 2.0,
        }
    }
}

/// When a stage was reached, and what it took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct StageTime {
    /// Which.
    pub stage: Stage,
    /// Since the load began; nothing where it was not seen.
    pub at: Option<TimeEstimate>,
    /// Since the stage before; nothing where one of the two was not seen.
    pub took: Option<TimeEstimate>,
}

impl StageTime {
    /// As texts: when it was reached, and what it took.
    #[must_use]
    pub fn cells(&self) -> [String; 2] {
        [self.at, self.took].map(|reading| {
            reading.map_or("not seen".to_owned(), |one| {
                format!("{:.2} ±{:.2} s", one.seconds, one.error)
            })
        })
    }
}

/// The way to one new pod.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct PodPath {
    /// The pod.
    pub pod: String,
    /// Its stages, in order.
    pub stages: Vec<StageTime>,
}

impl PodPath {
    /// What it is among all new pods, if it is the last.
    #[must_use]
    pub fn describe_rank(&self, of: usize) -> String {
        match self.reached(Stage::Ready) {
            Some(_) => format!("the last of {of} new pods to be ready"),
            None => format!("of {of} new pods one that was not ready"),
        }
    }

    /// When one stage was reached, in seconds since the load began.
    #[must_use]
    pub fn reached(&self, stage: Stage) -> Option<f64> {
        let found = self.stages.iter().find(|time| time.stage == stage)?;
        found.at.map(|at| at.seconds)
    }
}

/// Where the time of one HPA's step went.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct TimeToScale {
    /// The HPA.
    pub hpa: String,
    /// The way to each new pod, in the order in which they came to be.
    pub pods: Vec<PodPath>,
    /// What could not be looked at, and why.
    pub problems: BTreeMap<&'static str, String>,
}

impl TimeToScale {
    /// `first_served` is when the load saw the first answer of each pod, in seconds since it began.
    #[must_use]
    pub fn of(expected: &Expected, trace: &Trace, first_served: &BTreeMap<String, f64>) -> Self {
        let mut new: Vec<(&String, &PodTrace)> = trace.pods.iter().collect();
        let created = |pod: &PodTrace| pod.created.map_or(f64::INFINITY, |seen| seen.by);
        new.sort_by(|one, other| created(one.1).total_cmp(&created(other.1)));
        let mut problems = trace.problems.clone();
        let mut pods = Vec::new();
        for ((name, pod), number) in new.into_iter().zip(1..) {
            // The first decision that this pod is part of.
            let decision = trace
                .decisions
                .iter()
                .find(|decision| decision.replicas >= expected.min + number);
            let answered = first_served.get(name).copied().map(TimeRange::exactly);
            let seen = [
                trace.counted,
                trace.scraped,
                trace.visible(),
                trace.enough,
                decision.map(|decision| decision.seen),
                pod.created,
                pod.scheduled,
                pod.started,
                pod.ready,
                answered.or(pod.served),
            ];
            let (seen, contradicted) = in_order(seen);
            for stage in contradicted {
                let problem = format!("{name}: seen only after what follows from it");
                problems.insert(stage.name(), problem);
            }
            pods.push(PodPath {
                pod: name.clone(),
                stages: times(seen),
            });
        }
        Self {
            hpa: expected.hpa.clone(),
            pods,
            problems,
        }
    }

    /// The way to the pod that was ready last, which is what the whole step took; or to one that never was.
    #[must_use]
    pub fn last(&self) -> Option<&PodPath> {
        let ready = |path: &&PodPath| path.reached(Stage::Ready).unwrap_or(f64::INFINITY);
        self.pods
            .iter()
            .max_by(|one, other| ready(one).total_cmp(&ready(other)))
    }
}

/// When each stage was seen, if it was.
type StageRanges = [Option<TimeRange>; Stage::ALL.len()];

/// Each stage follows from the one before. So none was reached before the earliest moment of an earlier one, or after the
/// latest moment of a later one, whatever the looks alone would allow. Where the two contradict each other, the stage counts
/// as not seen, and is named: something is not as it is thought to be.
fn in_order(mut seen: StageRanges) -> (StageRanges, Vec<Stage>) {
    let mut latest = f64::INFINITY;
    for one in seen.iter_mut().rev().flatten() {
        one.by = one.by.min(latest);
        latest = one.by;
    }
    let mut earliest = 0.0;
    let mut contradicted = Vec::new();
    for (one, stage) in seen.iter_mut().zip(Stage::ALL) {
        match one {
            None => {}
            Some(seen) if seen.after <= seen.by => {
                seen.after = seen.after.max(earliest);
                earliest = seen.after;
            }
            Some(seen) if stage.may_show_late() => seen.after = earliest,
            Some(_) => {
                contradicted.push(stage);
                *one = None;
            }
        }
    }
    (seen, contradicted)
}

fn times(seen: StageRanges) -> Vec<StageTime> {
    let before = [Some(TimeRange::exactly(0.0))].into_iter().chain(seen);
    Stage::ALL
        .into_iter()
        .zip(seen)
        .zip(before)
        .map(|((stage, seen), before)| StageTime {
            stage,
            at: seen.map(|seen| TimeEstimate::between(seen.after, seen.by)),
            took: seen.zip(before).map(|(seen, before)| {
                TimeEstimate::between((seen.after - before.by).max(0.0), seen.by - before.after)
            }),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{super::trace::MetricSample, *};

    fn seen(after: f64, by: f64) -> TimeRange {
        TimeRange { after, by }
    }

    fn assert_close(reading: Option<TimeEstimate>, seconds: f64, error: f64) {
        let reading = reading.unwrap();
        let close = |one: f64, other: f64| (one - other).abs() < 1e-9;
        assert!(
            close(reading.seconds, seconds) && close(reading.error, error),
            "{reading:?}, and not {seconds} ±{error}"
        );
    }

    #[test]
    fn a_stage_lies_between_its_looks_and_takes_what_lies_between_it_and_the_one_before() {
        let mut all = [None; 10];
        (all[0], all[1]) = (Some(seen(0.0, 0.5)), Some(seen(4.0, 4.5)));
        let (seen, contradicted) = in_order(all);
        let times = times(seen);
        assert_eq!(contradicted, []);
        assert_close(times[0].at, 0.25, 0.25);
        assert_close(times[0].took, 0.25, 0.25);
        assert_close(times[1].at, 4.25, 0.25);
        // At least from 0.5 to 4.0, at the most from 0.0 to 4.5.
        assert_close(times[1].took, 4.0, 0.5);
    }

    #[test]
    fn what_follows_from_a_stage_narrows_it() {
        let mut all = [None; 10];
        // The look that shows the second ended before the one that shows the first; the third was seen with the second.
        all[..3]
            .copy_from_slice(&[(0.0, 2.0), (0.5, 1.0), (0.25, 1.0)].map(|(after, by)| Some(seen(after, by))));
        let (seen, contradicted) = in_order(all);
        let times = times(seen);
        assert_eq!(contradicted, []);
        assert_close(times[0].at, 0.5, 0.5);
        assert_close(times[1].at, 0.75, 0.25);
        assert_close(times[2].at, 0.75, 0.25);
        let order: Vec<f64> = times.iter().filter_map(|time| Some(time.at?.seconds)).collect();
        assert!(order.is_sorted(), "{order:?}");
    }

    #[test]
    fn a_value_that_came_and_went_between_two_looks_was_there_before_what_follows_from_it() {
        let mut all = [None; 10];
        all[2..5]
            .copy_from_slice(&[(1.0, 1.5), (9.0, 9.25), (4.0, 4.5)].map(|(after, by)| Some(seen(after, by))));
        let (seen, contradicted) = in_order(all);
        let times = times(seen);
        assert_eq!(contradicted, []);
        // Between the stage before, and the decision that it led to.
        assert_close(times[3].at, 2.75, 1.75);
        assert_close(times[4].at, 4.25, 0.25);
    }

    #[test]
    fn what_contradicts_its_consequences_has_no_time_and_is_named() {
        let mut all = [None; 10];
        // A pod that had started before it was there.
        (all[5], all[7]) = (Some(seen(9.0, 9.25)), Some(seen(4.0, 4.5)));
        let (seen, contradicted) = in_order(all);
        assert_eq!((seen[5], contradicted), (None, vec![Stage::Created]));
        assert!(times(seen)[7].at.is_some());
    }

    #[test]
    fn what_was_not_seen_has_no_time_and_gives_none_to_the_next() {
        let mut all = [None; 10];
        (all[0], all[2], all[3]) = (Some(seen(0.0, 0.5)), Some(seen(2.0, 2.5)), Some(seen(2.5, 3.0)));
        let (seen, contradicted) = in_order(all);
        let times = times(seen);
        assert_eq!(contradicted, []);
        assert_eq!((times[1].at, times[1].took, times[2].took), (None, None, None));
        assert!(times[2].at.is_some() && times[3].took.is_some());
    }

    fn expected(min: i32, replicas: i32) -> Expected {
        Expected {
            hpa: "app-a".to_owned(),
            deployment: "app-a".to_owned(),
            metric: crate::cluster::PodsMetric {
                name: "requests".to_owned(),
                target_per_pod: 50.0,
                selector: None,
            },
            min,
            max: 12,
            rate: 392.0,
            replicas,
            scale_up_tolerance: 0.1,
            scale_down_stabilisation: std::time::Duration::ZERO,
        }
    }

    fn pod(created: f64) -> PodTrace {
        let at = |offset| Some(TimeRange::exactly(created + offset));
        PodTrace {
            created: at(0.0),
            scheduled: at(0.1),
            started: at(1.0),
            ready: at(2.0),
            served: at(2.5),
            asked: true,
        }
    }

    fn trace(second: f64) -> Trace {
        let decision = |replicas, at| super::super::trace::Decision {
            replicas,
            seen: TimeRange::exactly(at),
        };
        Trace {
            counted: Some(TimeRange::exactly(0.1)),
            scraped: Some(TimeRange::exactly(2.0)),
            metric: [(0.0, 0.0), (2.1, 4.0)]
                .map(|(at, sum)| MetricSample {
                    seen: TimeRange::exactly(at),
                    sum,
                })
                .into(),
            enough: Some(TimeRange::exactly(5.0)),
            decisions: vec![decision(3, 10.0), decision(4, second)],
            pods: [("late", second + 0.1), ("early", 10.1)]
                .map(|(name, created)| (name.to_owned(), pod(created)))
                .into(),
            ..Trace::default()
        }
    }

    #[test]
    fn each_pod_has_the_decision_that_it_is_part_of_and_the_last_one_is_the_steps() {
        let served = BTreeMap::from([("late".to_owned(), 27.25)]);
        let time = TimeToScale::of(&expected(2, 4), &trace(25.0), &served);
        let names: Vec<_> = time.pods.iter().map(|path| path.pod.as_str()).collect();
        assert_eq!(names, ["early", "late"]);
        let decided = |path: &PodPath| path.reached(Stage::Decided).unwrap();
        assert!((decided(&time.pods[0]) - 10.0).abs() < 1e-9);
        assert!((decided(&time.pods[1]) - 25.0).abs() < 1e-9);
        let last = time.last().unwrap();
        assert_eq!(last.pod, "late");
        // The answers' own time goes before what the pod's counter showed.
        assert_close(last.stages[9].at, 27.25, 0.0);
        assert_close(time.pods[0].stages[9].at, 12.6, 0.0);
    }
}
