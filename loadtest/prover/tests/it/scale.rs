//! Whole runs against a fake cluster.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use engine::Interrupt;
use prover::prove::{Expected, Progress, ScaleVerdict, Stage, drive};
use tokio::sync::watch;

use crate::{
    recording::describe_assertions,
    scaling_cluster::{ScalingCluster, follow, judge},
};

#[tokio::test]
async fn a_run_passes_if_the_cluster_follows_the_load() {
    let cluster = ScalingCluster::start(follow).await;
    let mut report = cluster.run(&mut Interrupt::never()).await;
    assert_eq!(
        report.verdict,
        ScaleVerdict::Passed,
        "{}",
        describe_assertions(&report)
    );
    let run = report.runs.remove(0);
    let (step, tail) = (run.step.unwrap(), run.tail.unwrap());
    assert!(
        step.requests.sent > 280 * 5 && tail.requests.sent >= 20,
        "{:?} {:?}",
        step.requests,
        tail.requests
    );
    let regarding: Vec<_> = run
        .timeline
        .events
        .iter()
        .map(|event| event.regarding.as_str())
        .collect();
    assert!(
        [
            "HorizontalPodAutoscaler/app-a",
            "Node/node-b",
            "ConfigMap/cluster-autoscaler-status"
        ]
        .iter()
        .all(|name| regarding.contains(name))
            && !regarding.contains(&"Pod/coredns-1")
            && !regarding.contains(&"Pod/other-1"),
        "{regarding:?}"
    );
    let notes: Vec<_> = run.timeline.events.iter().map(|event| &event.note).collect();
    assert_eq!(
        notes.len(),
        notes.iter().collect::<std::collections::BTreeSet<_>>().len(),
        "an event is recorded twice: {notes:?}"
    );
}

#[tokio::test]
async fn a_run_fails_if_the_hpa_wants_one_pod_too_many() {
    let cluster = ScalingCluster::start(|state, rate| {
        follow(state, rate);
        if state.pods == 6 {
            state.desired = 7;
        }
    })
    .await;
    let report = cluster.run(&mut Interrupt::never()).await;
    assert_eq!(report.verdict, ScaleVerdict::Failed);
    let text = describe_assertions(&report);
    assert!(
        text.contains("Failed never-more app-a") && text.contains("7 after"),
        "{text}"
    );
}

#[tokio::test]
async fn a_run_fails_if_the_api_server_fails_but_the_load_stays_valid() {
    let cluster = ScalingCluster::start(|state, rate| {
        follow(state, rate);
        state.api_down = state.pods == 6;
    })
    .await;
    let report = cluster.run(&mut Interrupt::never()).await;
    assert_eq!(report.verdict, ScaleVerdict::Failed);
    let text = describe_assertions(&report);
    assert!(text.contains("etcdserver: request timed out"), "{text}");
    assert!(
        text.contains("Passed step-requests") && text.contains("Passed step-valid"),
        "{text}"
    );
}

#[tokio::test]
async fn an_interrupted_run_keeps_its_measurements() {
    let cluster = ScalingCluster::start(follow).await;
    let stop = watch::Sender::new(false);
    let mut interrupt = Interrupt::from_sender(&stop);
    let plateau = async {
        cluster.fake.wait_until(|state| state.pods == 6).await;
        stop.send_replace(true);
    };
    let (report, ()) = tokio::join!(cluster.run(&mut interrupt), plateau);
    assert_eq!(
        report.verdict,
        ScaleVerdict::Interrupted,
        "{}",
        describe_assertions(&report)
    );
    assert!(
        report.runs[0]
            .step
            .as_ref()
            .is_some_and(|step| step.requests.sent > 0 && step.requests.in_flight() == 0)
    );
}

#[tokio::test]
async fn the_cluster_is_watched_while_the_reads_before_the_step_hang() {
    let cluster = ScalingCluster::start(follow).await;
    cluster.fake.change(|state| state.pods_unreachable = true);
    let mut setup = cluster.setup();
    let app_a = setup.expected[0].clone();
    setup.expected.push(Expected {
        hpa: "app-b".to_owned(),
        deployment: "app-b".to_owned(),
        ..app_a
    });
    let mut interrupt = Interrupt::never();
    let mut ignore = |_: Progress<'_>| ();
    let recording = drive(&cluster.fake.cluster, &setup, &mut interrupt, &mut ignore)
        .await
        .unwrap();
    let report = judge(recording);
    let text = describe_assertions(&report);
    assert_eq!(report.verdict, ScaleVerdict::Passed, "{text}");
    let run = &report.runs[0];
    let times: Vec<f64> = run.timeline.samples.iter().map(|sample| sample.at).collect();
    let longest = times.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    assert!(longest < 5.0, "no sample for {longest} s: {times:?}");
    let settled = run.timeline.marks.settled.unwrap();
    assert!(settled > -13.0, "the reads before the step took {} s", -settled);
    for time in &run.time_to_scale {
        assert_eq!(
            time.problems["pods' own metrics"], "no response within 3s",
            "{time:?}"
        );
    }
}

#[tokio::test]
async fn a_run_fails_if_a_pod_does_not_terminate() {
    let cluster = ScalingCluster::start(|state, rate| {
        let before = state.pods;
        follow(state, rate);
        state.terminating += usize::from(state.pods < before);
    })
    .await;
    let mut setup = cluster.setup();
    setup.deadlines.scale_down = 4.0;
    let mut interrupt = Interrupt::never();
    let mut ignore = |_: Progress<'_>| ();
    let recording = drive(&cluster.fake.cluster, &setup, &mut interrupt, &mut ignore).await;
    let report = judge(recording.unwrap());
    let text = describe_assertions(&report);
    assert_eq!(report.verdict, ScaleVerdict::Failed, "{text}");
    assert!(text.contains("still 2 ready, 2 wanted, 3 pods"), "{text}");
}

#[tokio::test]
async fn evicted_pods_do_not_count_as_pods() {
    let cluster = ScalingCluster::start(follow).await;
    cluster.fake.change(|state| state.evicted = 2);
    let report = cluster.run(&mut Interrupt::never()).await;
    assert_eq!(
        report.verdict,
        ScaleVerdict::Passed,
        "{}",
        describe_assertions(&report)
    );
    let run = &report.runs[0];
    assert!(
        run.timeline
            .samples
            .iter()
            .all(|sample| sample.hpas["app-a"].pods <= 6)
    );
    let path = run.time_to_scale[0].last().unwrap();
    assert!(
        path.reached(Stage::Counted).is_some(),
        "the metrics of an evicted pod cannot be read: {:?}",
        run.time_to_scale
    );
}

#[tokio::test]
async fn the_load_begins_after_the_wait_of_the_run() {
    let cluster = ScalingCluster::start(follow).await;
    let mut setup = cluster.setup();
    setup.start_wait = Duration::from_secs(3);
    let mut interrupt = Interrupt::never();
    let mut ignore = |_: Progress<'_>| ();
    let recording = drive(&cluster.fake.cluster, &setup, &mut interrupt, &mut ignore).await;
    let report = judge(recording.unwrap());
    let run = &report.runs[0];
    assert_eq!(
        run.verdict,
        ScaleVerdict::Passed,
        "{}",
        describe_assertions(&report)
    );
    let settled = run.timeline.marks.settled.unwrap();
    assert!((-4.5..=-3.0).contains(&settled), "the load began {settled} s");
    assert!((run.start_wait_seconds - 3.0).abs() < f64::EPSILON);
    assert!(run.time_to_scale[0].since_sync.is_some());
}

#[tokio::test]
async fn a_cluster_that_is_no_longer_idle_after_the_wait_gets_no_load() {
    let start = Instant::now();
    let cluster = ScalingCluster::start(move |state, _| {
        if start.elapsed() > Duration::from_secs(3) {
            state.metric_sum = 37.0;
        }
    })
    .await;
    let mut setup = cluster.setup();
    setup.start_wait = Duration::from_secs(5);
    let mut interrupt = Interrupt::never();
    let mut ignore = |_: Progress<'_>| ();
    let recording = drive(&cluster.fake.cluster, &setup, &mut interrupt, &mut ignore).await;
    let report = judge(recording.unwrap());
    let text = describe_assertions(&report);
    assert!(
        text.contains("Failed settled") && text.contains("metric 37"),
        "{text}"
    );
    assert_eq!(cluster.requests.load(Ordering::SeqCst), 0, "the load began");
}
