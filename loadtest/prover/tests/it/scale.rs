//! Whole runs against a fake cluster.

use engine::Interrupt;
use prover::prove::ScaleVerdict;
use tokio::sync::watch;

use crate::{
    recording::describe_assertions,
    scaling_cluster::{ScalingCluster, follow},
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
