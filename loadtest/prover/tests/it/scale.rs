//! A whole run against a made-up cluster.

use engine::Interrupt;
use prover::prove::ScaleVerdict;
use tokio::sync::watch;

use crate::{
    recording::described,
    scaling_cluster::{ScalingCluster, follow},
};

#[tokio::test]
async fn a_cluster_that_follows_the_load_passes() {
    let world = ScalingCluster::start(follow).await;
    let mut report = world.run(&mut Interrupt::never()).await;
    assert_eq!(report.verdict, ScaleVerdict::Passed, "{}", described(&report));
    let run = report.runs.remove(0);
    let (step, tail) = (run.step.unwrap(), run.tail.unwrap());
    assert!(
        step.requests.sent > 280 * 5 && tail.requests.sent >= 20,
        "{:?} {:?}",
        step.requests,
        tail.requests
    );
    let about: Vec<_> = run
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
        .all(|name| about.contains(name))
            && !about.contains(&"Pod/coredns-1")
            && !about.iter().any(|name| name.contains("somebody-else")),
        "{about:?}"
    );
    let notes: Vec<_> = run.timeline.events.iter().map(|event| &event.note).collect();
    assert_eq!(
        notes.len(),
        notes.iter().collect::<std::collections::BTreeSet<_>>().len(),
        "an event came twice: {notes:?}"
    );
}

#[tokio::test]
async fn one_pod_too_many_fails() {
    let world = ScalingCluster::start(|state, rate| {
        follow(state, rate);
        if state.pods == 6 {
            state.desired = 7;
        }
    })
    .await;
    let report = world.run(&mut Interrupt::never()).await;
    assert_eq!(report.verdict, ScaleVerdict::Failed);
    let text = described(&report);
    assert!(
        text.contains("Failed never-more app-a") && text.contains("7 after"),
        "{text}"
    );
}

#[tokio::test]
async fn a_cluster_that_goes_away_is_reported_and_the_load_stays_valid() {
    let world = ScalingCluster::start(|state, rate| {
        follow(state, rate);
        state.away = state.pods == 6;
    })
    .await;
    let report = world.run(&mut Interrupt::never()).await;
    assert_eq!(report.verdict, ScaleVerdict::Failed);
    let text = described(&report);
    assert!(text.contains("etcdserver: request timed out"), "{text}");
    assert!(
        text.contains("Passed step-requests") && text.contains("Passed step-valid"),
        "{text}"
    );
}

#[tokio::test]
async fn a_run_that_is_stopped_keeps_what_it_has() {
    let world = ScalingCluster::start(follow).await;
    let stop = watch::Sender::new(false);
    let mut interrupt = Interrupt::by(&stop);
    let plateau = async {
        world.scenario.wait_until(|state| state.pods == 6).await;
        stop.send_replace(true);
    };
    let (report, ()) = tokio::join!(world.run(&mut interrupt), plateau);
    assert_eq!(
        report.verdict,
        ScaleVerdict::Interrupted,
        "{}",
        described(&report)
    );
    assert!(
        report.runs[0]
            .step
            .as_ref()
            .is_some_and(|step| step.requests.sent > 0 && step.requests.in_flight() == 0)
    );
}
