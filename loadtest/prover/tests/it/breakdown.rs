//! Tests the breakdown of the time to scale, on a fake cluster that takes a known time for each stage.

use std::{sync::atomic::Ordering, time::Duration};

use engine::{Interrupt, Schedule, units::Rate};
use jiff::Timestamp;
use prover::prove::{Expected, Progress, ScaleRun, Stage, StageTime, drive};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    cluster_state::{ClusterState, PodStage},
    recording,
    scaling_cluster::{ScalingCluster, judge},
};

/// The duration of a stage without a delay.
const STAGE_TIME: Duration = Duration::from_millis(400);

/// The delay of the delayed stage.
const DELAY: Duration = Duration::from_secs(3);

/// The tolerance on top of the reported error, in seconds. On a busy machine, the recorded time of a change is later
/// than the change.
const SLACK: f64 = 0.15;

/// Returns the stages of a pod on a node that is there.
fn of_pods() -> impl Iterator<Item = Stage> {
    Stage::ALL.into_iter().filter(|stage| !stage.is_of_node())
}

/// Changes the state of the cluster to a stage.
fn reach(stage: Stage, cluster: &mut ClusterState) {
    match stage {
        // The metric of earlier requests may increase when its window moves.
        Stage::Counted => (cluster.counted, cluster.metric_sum) = (100.0, 0.4),
        Stage::Scraped => cluster.scraped = 100.0,
        // A scrape right after the start of the step shows only a small increase.
        Stage::Visible => cluster.metric_sum = 0.6,
        // More than the target of two pods, 50 each, plus the tolerance.
        Stage::Enough => cluster.metric_sum = 120.0,
        Stage::Decided => cluster.desired = 3,
        Stage::Created => (cluster.pods, cluster.pod_stage) = (3, PodStage::Created),
        Stage::Scheduled => cluster.pod_stage = PodStage::Scheduled,
        Stage::Started => cluster.pod_stage = PodStage::Started,
        Stage::Ready => cluster.pod_stage = PodStage::Ready,
        Stage::Served => cluster.pod_stage = PodStage::Served,
        of_node => panic!("the cluster adds no node: {of_node:?}"),
    }
}

/// Runs with a delay in one stage. Returns the report and the true time of each stage.
async fn run(delayed: Option<Stage>) -> (ScaleRun, Vec<Timestamp>) {
    let cluster = ScalingCluster::start(|_, _| ()).await;
    cluster.fake.change(|state| state.metric_sum = 0.3);
    let mut setup = cluster.setup();
    setup.expected = vec![Expected {
        rate: 20.0,
        replicas: 3,
        ..recording::expected()
    }];
    setup.step.schedule = Schedule::constant(Rate::per_second(20), Duration::from_mins(1));
    setup.tail = None;
    (setup.deadlines.scale_up, setup.deadlines.plateau) = (30.0, 8.0);
    let script = async {
        while cluster.requests.load(Ordering::SeqCst) == 0 {
            sleep(Duration::from_millis(5)).await;
        }
        let mut reached = Vec::new();
        for stage in of_pods() {
            sleep(STAGE_TIME).await;
            if delayed == Some(stage) {
                sleep(DELAY).await;
            }
            cluster.fake.change(|state| reach(stage, state));
            reached.push(Timestamp::now());
        }
        // The new pod disappears after the end of the load.
        let mut last_count = 0;
        while last_count != cluster.requests.load(Ordering::SeqCst) {
            last_count = cluster.requests.load(Ordering::SeqCst);
            sleep(Duration::from_secs(1)).await;
        }
        cluster.fake.change(|state| {
            (state.desired, state.pods, state.metric_sum) = (2, 2, 0.0);
        });
        reached
    };
    let mut interrupt = Interrupt::never();
    let mut ignore = |_: Progress<'_>| ();
    let (recording, reached) = tokio::join!(
        drive(&cluster.fake.cluster, &setup, &mut interrupt, &mut ignore),
        script
    );
    (judge(recording.unwrap()).runs.remove(0), reached)
}

#[tokio::test]
async fn a_delay_in_one_stage_shows_in_that_stage_only() {
    let mut runs = JoinSet::new();
    for delayed in [None].into_iter().chain(of_pods().map(Some)) {
        runs.spawn(async move { (delayed, run(delayed).await) });
    }
    for (delayed, (run, reached)) in runs.join_all().await {
        let times = &run.time_to_scale[0].last().unwrap().stages;
        assert_eq!(run.time_to_scale[0].problems, [].into());
        let began_at = run.began_at.unwrap();
        let mut previous = 0.0;
        for (StageTime { stage, at, took }, truth) in times.iter().zip(reached) {
            let truth = truth.duration_since(began_at).as_secs_f64();
            let (Some(at), Some(took)) = (at, took) else {
                panic!(
                    "delay in {delayed:?}: {stage:?} was not seen: {:?}",
                    run.time_to_scale
                );
            };
            let details =
                format!("delay in {delayed:?}: {stage:?} after {truth:.3} s: {at:?}, took {took:?}");
            assert!((at.seconds - truth).abs() <= at.error + SLACK, "{details}");
            assert!(
                (took.seconds - (truth - previous)).abs() <= took.error + SLACK,
                "{details}"
            );
            assert!(at.error <= 1.5, "the error is too large: {details}");
            if delayed == Some(*stage) {
                assert!(
                    took.seconds + took.error >= DELAY.as_secs_f64(),
                    "the delay does not show: {details}"
                );
            } else {
                assert!(
                    took.seconds - took.error <= 2.0,
                    "the delay shows in the wrong stage: {details}"
                );
            }
            previous = truth;
        }
    }
}
