//! Breaks down the time from the start of the step to the first request of each new pod: computes the time of each
//! stage, and its maximum error, from the trace. Pure functions.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    plan::Expected,
    stage::Stage,
    trace::{PodTrace, TimeRange, Trace},
};

/// The time between two syncs of an HPA: the default of the controller's `--horizontal-pod-autoscaler-sync-period`, which
/// no API shows.
pub const SYNC_PERIOD: Duration = Duration::from_secs(15);

/// An estimated time and its maximum error, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct TimeEstimate {
    /// The middle of the possible range, in seconds.
    pub seconds: f64,
    /// Half the width of the possible range, in seconds.
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

/// When a stage was reached, and how long it took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct StageTime {
    /// The stage.
    pub stage: Stage,
    /// The time since the load began; null if the stage was not seen.
    pub at: Option<TimeEstimate>,
    /// The time since the previous stage; null if one of the two was not seen.
    pub took: Option<TimeEstimate>,
}

impl StageTime {
    /// Returns the cells of a table row: the time since the load began, and the time since the previous stage.
    #[must_use]
    pub fn cells(&self) -> [String; 2] {
        [self.at, self.took].map(|time| {
            time.map_or("not seen".to_owned(), |time| {
                format!("{:.2} ±{:.2} s", time.seconds, time.error)
            })
        })
    }
}

/// The path from the start of the step to one new pod.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct PodPath {
    /// The name of the pod.
    pub pod: String,
    /// The stages, in order.
    pub stages: Vec<StageTime>,
}

impl PodPath {
    /// Describes the result of [`TimeToScale::last`] among `new_pods` new pods.
    #[must_use]
    pub fn describe_rank(&self, new_pods: usize) -> String {
        match self.reached(Stage::Ready) {
            Some(_) => format!("the last of {new_pods} new pods to become ready"),
            None => format!("which never became ready (one of {new_pods} new pods)"),
        }
    }

    /// Returns when a stage was reached, in seconds since the load began; `None` if it was not seen.
    #[must_use]
    pub fn reached(&self, stage: Stage) -> Option<f64> {
        let found = self.stages.iter().find(|time| time.stage == stage)?;
        found.at.map(|at| at.seconds)
    }
}

/// The breakdown of one HPA's time to scale.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct TimeToScale {
    /// The name of the HPA.
    pub hpa: String,
    /// How long before the load the HPA's last sync was, in seconds, computed from its first decision and the default sync
    /// period of 15 s; null if no decision was seen.
    pub since_sync: Option<TimeEstimate>,
    /// The path to each new pod, in the order of their creation.
    pub pods: Vec<PodPath>,
    /// The errors, by the source that could not be read, or by the stage that has no time.
    pub problems: BTreeMap<&'static str, String>,
}

impl TimeToScale {
    /// Computes the breakdown. `first_served` is the time of the first response of each pod, in seconds since the load
    /// began.
    #[must_use]
    pub fn of(expected: &Expected, trace: &Trace, first_served: &BTreeMap<String, f64>) -> Self {
        let mut new_pods: Vec<(&String, &PodTrace)> = trace.pods.iter().collect();
        let created = |pod: &PodTrace| pod.created.map_or(f64::INFINITY, |created| created.latest);
        new_pods.sort_by(|one, other| created(one.1).total_cmp(&created(other.1)));
        let mut problems = trace.problems.clone();
        let mut pods = Vec::new();
        for ((name, pod), number) in new_pods.into_iter().zip(1..) {
            // The first decision that includes this pod.
            let decision = trace
                .decisions
                .iter()
                .find(|decision| decision.replicas >= expected.min + number);
            let answered = first_served.get(name).copied().map(TimeRange::exactly);
            let ranges = [
                trace.counted,
                trace.scraped,
                trace.visible(),
                trace.enough,
                decision.map(|decision| decision.time),
                pod.created,
                pod.scheduled,
                pod.started,
                pod.ready,
                answered.or(pod.served),
            ];
            let (ranges, contradicted) = narrow(ranges);
            for stage in contradicted {
                let problem = format!("{name}: seen only after a later stage");
                problems.insert(stage.name(), problem);
            }
            pods.push(PodPath {
                pod: name.clone(),
                stages: stage_times(ranges),
            });
        }
        Self {
            hpa: expected.hpa.clone(),
            since_sync: since_sync(trace),
            pods,
            problems,
        }
    }

    /// Returns the path to the pod that became ready last, or to a pod that never became ready. This is the time that
    /// the whole step took.
    #[must_use]
    pub fn last(&self) -> Option<&PodPath> {
        let ready = |path: &&PodPath| path.reached(Stage::Ready).unwrap_or(f64::INFINITY);
        self.pods
            .iter()
            .max_by(|one, other| ready(one).total_cmp(&ready(other)))
    }
}

/// Returns how long before the load the last sync was. The HPA decides in its syncs.
fn since_sync(trace: &Trace) -> Option<TimeEstimate> {
    let first = trace.decisions.first()?.time;
    let decided = TimeEstimate::between(first.earliest, first.latest);
    Some(TimeEstimate {
        seconds: (-decided.seconds).rem_euclid(SYNC_PERIOD.as_secs_f64()),
        ..decided
    })
}

/// The time range of each stage; `None` if it was not seen.
type StageRanges = [Option<TimeRange>; Stage::ALL.len()];

/// Narrows the range of each stage by the other stages. Each stage follows from the previous one, so it was not reached
/// before the earliest time of an earlier stage, or after the latest time of a later stage. If the two limits
/// contradict each other, the stage counts as not seen and is returned: an assumption about the cluster is wrong.
fn narrow(mut ranges: StageRanges) -> (StageRanges, Vec<Stage>) {
    let mut latest = f64::INFINITY;
    for range in ranges.iter_mut().rev().flatten() {
        range.latest = range.latest.min(latest);
        latest = range.latest;
    }
    let mut earliest = 0.0;
    let mut contradicted = Vec::new();
    for (slot, stage) in ranges.iter_mut().zip(Stage::ALL) {
        match slot {
            None => {}
            Some(range) if range.earliest <= range.latest => {
                range.earliest = range.earliest.max(earliest);
                earliest = range.earliest;
            }
            Some(range) if stage.may_show_late() => range.earliest = earliest,
            Some(_) => {
                contradicted.push(stage);
                *slot = None;
            }
        }
    }
    (ranges, contradicted)
}

fn stage_times(ranges: StageRanges) -> Vec<StageTime> {
    let previous = [Some(TimeRange::exactly(0.0))].into_iter().chain(ranges);
    Stage::ALL
        .into_iter()
        .zip(ranges)
        .zip(previous)
        .map(|((stage, range), previous)| StageTime {
            stage,
            at: range.map(|range| TimeEstimate::between(range.earliest, range.latest)),
            took: range.zip(previous).map(|(range, previous)| {
                TimeEstimate::between(
                    (range.earliest - previous.latest).max(0.0),
                    range.latest - previous.earliest,
                )
            }),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{super::trace::MetricSample, *};

    fn range(earliest: f64, latest: f64) -> TimeRange {
        TimeRange { earliest, latest }
    }

    fn assert_close(estimate: Option<TimeEstimate>, seconds: f64, error: f64) {
        let estimate = estimate.unwrap();
        let close = |one: f64, other: f64| (one - other).abs() < 1e-9;
        assert!(
            close(estimate.seconds, seconds) && close(estimate.error, error),
            "{estimate:?} instead of {seconds} ±{error}"
        );
    }

    #[test]
    fn a_stage_lies_between_its_reads_and_takes_the_time_since_the_previous_stage() {
        let mut all = [None; 10];
        (all[0], all[1]) = (Some(range(0.0, 0.5)), Some(range(4.0, 4.5)));
        let (ranges, contradicted) = narrow(all);
        let times = stage_times(ranges);
        assert_eq!(contradicted, []);
        assert_close(times[0].at, 0.25, 0.25);
        assert_close(times[0].took, 0.25, 0.25);
        assert_close(times[1].at, 4.25, 0.25);
        // At least from 0.5 to 4.0, at most from 0.0 to 4.5.
        assert_close(times[1].took, 4.0, 0.5);
    }

    #[test]
    fn a_later_stage_narrows_an_earlier_stage() {
        let mut all = [None; 10];
        // The read that shows the second stage ends before the read that shows the first. The second and the third
        // stage are seen at the same time.
        all[..3].copy_from_slice(
            &[(0.0, 2.0), (0.5, 1.0), (0.25, 1.0)].map(|(earliest, latest)| Some(range(earliest, latest))),
        );
        let (ranges, contradicted) = narrow(all);
        let times = stage_times(ranges);
        assert_eq!(contradicted, []);
        assert_close(times[0].at, 0.5, 0.5);
        assert_close(times[1].at, 0.75, 0.25);
        assert_close(times[2].at, 0.75, 0.25);
        let order: Vec<f64> = times.iter().filter_map(|time| Some(time.at?.seconds)).collect();
        assert!(order.is_sorted(), "{order:?}");
    }

    #[test]
    fn a_value_missed_between_two_reads_comes_before_the_stage_that_follows_from_it() {
        let mut all = [None; 10];
        all[2..5].copy_from_slice(
            &[(1.0, 1.5), (9.0, 9.25), (4.0, 4.5)].map(|(earliest, latest)| Some(range(earliest, latest))),
        );
        let (ranges, contradicted) = narrow(all);
        let times = stage_times(ranges);
        assert_eq!(contradicted, []);
        // Between the previous stage and the resulting decision.
        assert_close(times[3].at, 2.75, 1.75);
        assert_close(times[4].at, 4.25, 0.25);
    }

    #[test]
    fn a_stage_that_contradicts_a_later_stage_has_no_time_and_is_returned() {
        let mut all = [None; 10];
        // The pod started before it existed.
        (all[5], all[7]) = (Some(range(9.0, 9.25)), Some(range(4.0, 4.5)));
        let (ranges, contradicted) = narrow(all);
        assert_eq!((ranges[5], contradicted), (None, vec![Stage::Created]));
        assert!(stage_times(ranges)[7].at.is_some());
    }

    #[test]
    fn an_unseen_stage_has_no_time_and_the_next_stage_no_duration() {
        let mut all = [None; 10];
        (all[0], all[2], all[3]) = (
            Some(range(0.0, 0.5)),
            Some(range(2.0, 2.5)),
            Some(range(2.5, 3.0)),
        );
        let (ranges, contradicted) = narrow(all);
        let times = stage_times(ranges);
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
            scale_down_stabilisation: Duration::ZERO,
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
            metrics_read: true,
        }
    }

    fn trace(second: f64) -> Trace {
        let decision = |replicas, at| super::super::trace::Decision {
            replicas,
            time: TimeRange::exactly(at),
        };
        Trace {
            counted: Some(TimeRange::exactly(0.1)),
            scraped: Some(TimeRange::exactly(2.0)),
            metric: [(0.0, 0.0), (2.1, 4.0)]
                .map(|(at, sum)| MetricSample {
                    time: TimeRange::exactly(at),
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
    fn the_first_decision_shows_when_the_last_sync_before_the_load_was() {
        // The first decision is 10 s after the start of the load, so the sync before it was 5 s before the start.
        let time = TimeToScale::of(&expected(2, 4), &trace(25.0), &BTreeMap::new());
        assert_close(time.since_sync, 5.0, 0.0);
        let second_sync = Trace {
            decisions: vec![super::super::trace::Decision {
                replicas: 3,
                time: range(19.0, 19.5),
            }],
            ..Trace::default()
        };
        let time = TimeToScale::of(&expected(2, 4), &second_sync, &BTreeMap::new());
        assert_close(time.since_sync, 10.75, 0.25);
        let undecided = TimeToScale::of(&expected(2, 4), &Trace::default(), &BTreeMap::new());
        assert_eq!(undecided.since_sync, None);
    }

    #[test]
    fn each_pod_has_its_own_decision_and_last_returns_the_slowest_pod() {
        let served = BTreeMap::from([("late".to_owned(), 27.25)]);
        let time = TimeToScale::of(&expected(2, 4), &trace(25.0), &served);
        let names: Vec<_> = time.pods.iter().map(|path| path.pod.as_str()).collect();
        assert_eq!(names, ["early", "late"]);
        let decided = |path: &PodPath| path.reached(Stage::Decided).unwrap();
        assert!((decided(&time.pods[0]) - 10.0).abs() < 1e-9);
        assert!((decided(&time.pods[1]) - 25.0).abs() < 1e-9);
        let last = time.last().unwrap();
        assert_eq!(last.pod, "late");
        // The time of the first response takes precedence over the counter of the pod.
        assert_close(last.stages[9].at, 27.25, 0.0);
        assert_close(time.pods[0].stages[9].at, 12.6, 0.0);
    }
}
