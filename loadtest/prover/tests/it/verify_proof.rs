//! The tests of a delivery that judge a proof of scaling: each passes on a cluster that follows the load, and fails on one that is
//! broken in just that way.

use engine::Interrupt;
use prover::{
    prove::{ScaleRun, drive},
    verify::{Reader, Reading, ResponseTimeBounds, nodes_scale, pods_scale, response_time},
};

use crate::{
    node_recording::recording_with_nodes,
    recording,
    scaling_cluster::{ScalingCluster, follow, judge},
    verify::{assert_failed, assert_passed},
};

/// Bounds for a plateau of 5 s.
const BOUNDS: ResponseTimeBounds = ResponseTimeBounds {
    objective_ms: 500.0,
    max_difference_ms: 500.0,
    covered_seconds: 3.0,
};

/// Runs a proof with readings.
async fn proof(cluster: &ScalingCluster) -> (ScaleRun, Vec<Reading>) {
    let reader = Reader::start(&cluster.fake.cluster, "sample-app", "app-a");
    let recording = drive(
        &cluster.fake.cluster,
        &cluster.setup(),
        &mut Interrupt::never(),
        &mut |_| (),
    )
    .await;
    let readings = reader.finish();
    (judge(recording.unwrap()).runs.remove(0), readings)
}

#[tokio::test]
async fn a_cluster_that_follows_passes_pods_scale_and_response_time() {
    let cluster = ScalingCluster::start(follow).await;
    let (run, readings) = proof(&cluster).await;
    let pods = pods_scale(&run, &readings);
    assert_passed(
        &pods,
        "ReplicaSet app-a-10: 6 of 6 ready at the end of the plateau, 2 of 2 at the end",
    );
    assert!(
        pods.seen.contains("metric-matches app-a: metric 280, sent "),
        "{}",
        pods.seen
    );
    let time = response_time(&run, &readings, BOUNDS);
    assert_passed(&time, "http_request_duration_seconds_average: 1 ms; load tool: ");
    assert_eq!(time.figures.len(), 2);
    let long = ResponseTimeBounds {
        covered_seconds: 75.0,
        ..BOUNDS
    };
    assert_failed(
        &response_time(&run, &readings, long),
        "was not measured",
        "is shorter than 105 s",
    );
    // The run had no nodes to judge.
    assert_failed(&nodes_scale(&run), "did not get so far", "no such assertion");
}

#[tokio::test]
async fn a_metric_that_does_not_match_fails_pods_scale_and_a_wrong_unit_fails_response_time() {
    let cluster = ScalingCluster::start(|state, rate| {
        follow(state, rate);
        // The rule of the adapter counts every request twice, and the HPA scales as if it did not.
        if state.pods == 6 {
            state.metric_sum *= 2.0;
        }
    })
    .await;
    cluster.fake.change(|state| state.average_seconds = 1.0);
    let (run, readings) = proof(&cluster).await;
    assert_failed(
        &pods_scale(&run, &readings),
        "does not hold: metric-matches app-a",
        "metric 560, sent ",
    );
    assert_failed(
        &response_time(&run, &readings, BOUNDS),
        "not in the same unit",
        "http_request_duration_seconds_average: 1000 ms",
    );
}

#[tokio::test]
async fn a_replica_set_that_lags_fails_pods_scale_and_a_missing_metric_fails_response_time() {
    let cluster = ScalingCluster::start(|state, rate| {
        follow(state, rate);
        state.replica_set_lacks = usize::from(state.pods == 6);
    })
    .await;
    cluster
        .fake
        .change(|state| state.offered = vec!["http_requests_per_second"]);
    let (run, readings) = proof(&cluster).await;
    assert_failed(
        &pods_scale(&run, &readings),
        "the ReplicaSet does not follow the load to 6 pods and back to 2",
        "5 of 6 ready at the end of the plateau",
    );
    assert_failed(
        &response_time(&run, &readings, BOUNDS),
        "the response time was not measured",
        "could not find the metric http_request_duration_seconds_average",
    );
}

#[tokio::test]
async fn pods_that_never_come_fail_both() {
    let cluster = ScalingCluster::start(|state, rate| {
        follow(state, rate);
        state.pods = 2;
    })
    .await;
    let (run, readings) = proof(&cluster).await;
    assert_failed(
        &pods_scale(&run, &readings),
        "does not hold: scaled-up app-a",
        "at most 2 ready",
    );
    assert_failed(
        &response_time(&run, &readings, BOUNDS),
        "was not measured",
        "at most 2 ready",
    );
}

#[test]
fn nodes_scale_passes_with_nodes_and_their_events_and_fails_without_the_events() {
    let run = recording::judge(recording_with_nodes()).runs.remove(0);
    assert_passed(&nodes_scale(&run), "nodes-added: 1 -> 4: ");
    assert!(
        nodes_scale(&run).seen.contains("node-events-removed: karpenter "),
        "{}",
        nodes_scale(&run).seen
    );
    let mut silent = recording_with_nodes();
    silent.timeline.events.clear();
    let run = recording::judge(silent).runs.remove(0);
    assert_failed(
        &nodes_scale(&run),
        "does not hold: node-events-added, node-events-removed",
        "the node autoscaler reports the new nodes at events.k8s.io/v1",
    );
    // The pods are not to blame.
    let judged = pods_scale(&run, &[]);
    assert!(!judged.failure.unwrap().contains("node"), "{}", judged.seen);
}

#[test]
fn nodes_that_stay_fail_nodes_scale() {
    let mut recording = recording_with_nodes();
    let nodes = recording.timeline.nodes.as_mut().unwrap();
    nodes.back = None;
    nodes.end.nodes = 4;
    let run = recording::judge(recording).runs.remove(0);
    assert_failed(
        &nodes_scale(&run),
        "does not hold: nodes-removed",
        "nodes-removed: ",
    );
}
