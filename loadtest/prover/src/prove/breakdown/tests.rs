//! Tests of the breakdown of the time to scale.

use super::{
    super::{metric::ScalingMetric, trace::MetricSample},
    *,
};
use crate::cluster::PodsMetric;

fn range(earliest: f64, latest: f64) -> TimeRange {
    TimeRange { earliest, latest }
}

/// Narrows the ranges of the stages of a pod on a node from before the load.
fn narrowed(ranges: [Option<TimeRange>; 10]) -> (Vec<StageTime>, Vec<Stage>) {
    let of_pods = Stage::ALL.into_iter().filter(|stage| !stage.is_of_node());
    let mut stages: Vec<StageRange> = of_pods.zip(ranges).collect();
    let contradicted = narrow(&mut stages);
    (stage_times(&stages), contradicted)
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
    let (times, contradicted) = narrowed(all);
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
    let (times, contradicted) = narrowed(all);
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
    let (times, contradicted) = narrowed(all);
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
    let (times, contradicted) = narrowed(all);
    assert_eq!((times[5].at, contradicted), (None, vec![Stage::Created]));
    assert!(times[7].at.is_some());
}

#[test]
fn an_unseen_stage_has_no_time_and_the_next_stage_no_duration() {
    let mut all = [None; 10];
    (all[0], all[2], all[3]) = (
        Some(range(0.0, 0.5)),
        Some(range(2.0, 2.5)),
        Some(range(2.5, 3.0)),
    );
    let (times, contradicted) = narrowed(all);
    assert_eq!(contradicted, []);
    assert_eq!((times[1].at, times[1].took, times[2].took), (None, None, None));
    assert!(times[2].at.is_some() && times[3].took.is_some());
}

fn expected(min: i32, replicas: i32) -> Expected {
    Expected {
        hpa: "app-a".to_owned(),
        deployment: "app-a".to_owned(),
        metric: ScalingMetric::Pods(PodsMetric {
            name: "requests".to_owned(),
            target_per_pod: 50.0,
            selector: None,
        }),
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
    let time = TimeToScale::of(&expected(2, 4), &trace(25.0), &BTreeMap::new(), None);
    assert_close(time.since_sync, 5.0, 0.0);
    let second_sync = Trace {
        decisions: vec![super::super::trace::Decision {
            replicas: 3,
            time: range(19.0, 19.5),
        }],
        ..Trace::default()
    };
    let time = TimeToScale::of(&expected(2, 4), &second_sync, &BTreeMap::new(), None);
    assert_close(time.since_sync, 10.75, 0.25);
    let undecided = TimeToScale::of(&expected(2, 4), &Trace::default(), &BTreeMap::new(), None);
    assert_eq!(undecided.since_sync, None);
}

#[test]
fn each_pod_has_its_own_decision_and_last_returns_the_slowest_pod() {
    let served = BTreeMap::from([("late".to_owned(), 27.25)]);
    let time = TimeToScale::of(&expected(2, 4), &trace(25.0), &served, None);
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
