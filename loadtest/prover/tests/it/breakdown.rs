//! The way from a step to a new pod, in a cluster that takes a known time for each part of it.

use std::{sync::atomic::Ordering, time::Duration};

use engine::{Interrupt, Schedule, units::Rate};
use jiff::Timestamp;
use prover::prove::{Expected, Progress as Step, ScaleRun, Stage, StageTime, drive};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    fake_cluster::{Progress, State},
    recording,
    scaling_cluster::{ScalingCluster, judge},
};

/// What each stage takes where nothing holds it up.
const USUAL: Duration = Duration::from_millis(400);

/// What is put into one of them.
const DELAY: Duration = Duration::from_secs(3);

/// Beyond what a time itself says that it may be off: from the clock's moment to the state's change, on a busy machine.
const SLACK: f64 = 0.15;

/// Puts the cluster where it is once a stage is reached.
fn reach(reached: Stage, state: &mut State) {
    match reached {
        // What is left of earlier requests shows as more, when the window moves on.
        Stage::Counted => (state.counted, state.metric_sum) = (100.0, 0.4),
        Stage::Scraped => state.read = 100.0,
        // As little as that, where the scrape comes right after the step.
        Stage::Visible => state.metric_sum = 0.6,
        // More than two pods at 50 each are for, with the tolerance.
        Stage::Enough => state.metric_sum = 120.0,
        Stage::Decided => state.desired = 3,
        Stage::Created => (state.pods, state.progress) = (3, Progress::Created),
        Stage::Scheduled => state.progress = Progress::Scheduled,
        Stage::Started => state.progress = Progress::Started,
        Stage::Ready => state.progress = Progress::Ready,
        Stage::Served => state.progress = Progress::Served,
    }
}

/// A run in which one stage is held up: what was reported, and when each stage really was reached.
async fn run(held_up: Option<Stage>) -> (ScaleRun, Vec<Timestamp>) {
    let world = ScalingCluster::start(|_, _| ()).await;
    world.scenario.change(|state| state.metric_sum = 0.3);
    let mut setup = world.setup();
    setup.expected = vec![Expected {
        rate: 20.0,
        replicas: 3,
        ..recording::expected()
    }];
    setup.step.schedule = Schedule::new(Rate::per_second(20), Duration::from_mins(1));
    setup.tail = None;
    (setup.deadlines.scale_up, setup.deadlines.plateau) = (30.0, 8.0);
    let script = async {
        while world.requests.load(Ordering::SeqCst) == 0 {
            sleep(Duration::from_millis(5)).await;
        }
        let mut reached = Vec::new();
        for stage in Stage::ALL {
            sleep(USUAL).await;
            if held_up == Some(stage) {
                sleep(DELAY).await;
            }
            world.scenario.change(|state| reach(stage, state));
            reached.push(Timestamp::now());
        }
        // Once the load is over, the pod goes.
        let mut before = 0;
        while before != world.requests.load(Ordering::SeqCst) {
            before = world.requests.load(Ordering::SeqCst);
            sleep(Duration::from_secs(1)).await;
        }
        world.scenario.change(|state| {
            (state.desired, state.pods, state.metric_sum) = (2, 2, 0.0);
        });
        reached
    };
    let mut interrupt = Interrupt::never();
    let mut ignore = |_: Step<'_>| ();
    let (recording, reached) = tokio::join!(
        drive(&world.scenario.cluster, &setup, &mut interrupt, &mut ignore),
        script
    );
    (judge(recording.unwrap()).runs.remove(0), reached)
}

#[tokio::test]
async fn a_delay_in_one_stage_moves_that_one_and_no_other() {
    let mut runs = JoinSet::new();
    for held_up in [None].into_iter().chain(Stage::ALL.map(Some)) {
        runs.spawn(async move { (held_up, run(held_up).await) });
    }
    for (held_up, (run, reached)) in runs.join_all().await {
        let times = &run.time_to_scale[0].last().unwrap().stages;
        assert_eq!(run.time_to_scale[0].problems, [].into());
        let began_at = run.began_at.unwrap();
        let mut before = 0.0;
        for (StageTime { stage, at, took }, truth) in times.iter().zip(reached) {
            let truth = truth.duration_since(began_at).as_secs_f64();
            let (Some(at), Some(took)) = (at, took) else {
                panic!(
                    "held up {held_up:?}: {stage:?} was not seen: {:?}",
                    run.time_to_scale
                );
            };
            let told = format!("held up {held_up:?}: {stage:?} after {truth:.3} s: {at:?}, took {took:?}");
            assert!((at.seconds - truth).abs() <= at.error + SLACK, "{told}");
            assert!(
                (took.seconds - (truth - before)).abs() <= took.error + SLACK,
                "{told}"
            );
            assert!(at.error <= 1.5, "that would say little: {told}");
            if held_up == Some(*stage) {
                assert!(
                    took.seconds + took.error >= DELAY.as_secs_f64(),
                    "it has not moved: {told}"
                );
            } else {
                assert!(took.seconds - took.error <= 2.0, "it has moved as well: {told}");
            }
            before = truth;
        }
    }
}
