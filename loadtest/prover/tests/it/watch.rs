//! The watches of pods and nodes: they need few requests, miss no change, and report every loss.

use std::time::Duration;

use engine::Interrupt;
use prover::prove::{Progress, ScaleVerdict, drive};
use tokio::time::{Instant, sleep};

use crate::{
    cluster_state::{ClusterState, WatchFault},
    fake_cluster::FakeCluster,
    recording::describe_assertions,
    scaling_cluster::{ScalingCluster, follow, judge},
};

const PODS: &str = "/api/v1/namespaces/sample-app/pods";
const NODES: &str = "/api/v1/nodes";

/// Returns the number of lists of a path.
fn lists(cluster: &FakeCluster, path: &str) -> usize {
    let state = cluster.api.state.lock().unwrap();
    state.lists.get(path).copied().unwrap_or(0)
}

#[tokio::test]
async fn a_long_run_lists_pods_and_nodes_once() {
    let cluster = ScalingCluster::start(follow).await;
    let mut setup = cluster.setup();
    setup.deadlines.plateau = 15.0;
    let mut interrupt = Interrupt::never();
    let mut ignore = |_: Progress<'_>| ();
    let recording = drive(&cluster.fake.cluster, &setup, &mut interrupt, &mut ignore).await;
    let report = judge(recording.unwrap());
    let text = describe_assertions(&report);
    assert_eq!(report.verdict, ScaleVerdict::Passed, "{text}");
    let samples = &report.runs[0].timeline.samples;
    assert!(samples.len() > 18, "{} samples", samples.len());
    assert!(samples.iter().all(|sample| sample.nodes.is_some()));
    assert_eq!(
        (lists(&cluster.fake, PODS), lists(&cluster.fake, NODES)),
        (1, 1),
        "lists of pods and of nodes"
    );
    let watches = cluster.fake.api.state.lock().unwrap().watches;
    assert!(
        watches <= 2 * samples.len(),
        "{watches} watches in {} s",
        samples.len()
    );
}

#[tokio::test]
async fn a_watch_that_expires_is_listed_again_and_misses_nothing() {
    let cluster = ScalingCluster::start(|state, rate| {
        let pods = state.pods;
        follow(state, rate);
        if state.pods != pods {
            state.watch_fault = WatchFault::Expired;
        }
    })
    .await;
    let report = cluster.run(&mut Interrupt::never()).await;
    let text = describe_assertions(&report);
    assert_eq!(report.verdict, ScaleVerdict::Passed, "{text}");
    // Two faults, each of which hits the watch of the pods or that of the nodes.
    let lists = lists(&cluster.fake, PODS) + lists(&cluster.fake, NODES);
    assert_eq!(lists, 4, "2 at the start, 1 after each fault");
}

#[tokio::test]
async fn a_watch_that_hangs_fails_the_run_although_all_other_reads_work() {
    let cluster = ScalingCluster::start(|state, rate| {
        follow(state, rate);
        if state.pods == 6 {
            state.watch_fault = WatchFault::Hang;
        }
    })
    .await;
    let report = cluster.run(&mut Interrupt::never()).await;
    let text = describe_assertions(&report);
    assert_eq!(report.verdict, ScaleVerdict::Failed, "{text}");
    assert!(
        text.contains("Failed watched") && text.contains("app-a: pods: no response"),
        "{text}"
    );
}

#[tokio::test]
async fn nodes_that_may_not_be_read_are_left_out() {
    let cluster = ScalingCluster::start(follow).await;
    cluster.fake.change(|state| state.nodes_forbidden = true);
    let report = cluster.run(&mut Interrupt::never()).await;
    let text = describe_assertions(&report);
    assert_eq!(report.verdict, ScaleVerdict::Passed, "{text}");
    let samples = &report.runs[0].timeline.samples;
    assert!(samples.iter().all(|sample| sample.nodes.is_none()));
}

/// Waits until the watched pods are those of the state.
async fn assert_follows(cluster: &FakeCluster, change: impl FnOnce(&mut ClusterState), expected: &[&str]) {
    let pods = cluster
        .cluster
        .watch_pods("sample-app", "app.kubernetes.io/name=app-a");
    let before = pods.objects().await.unwrap();
    assert_eq!(before.len(), 2, "{before:?}");
    cluster.change(change);
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let found = pods.objects().await.unwrap();
        let names: Vec<_> = found.iter().map(|pod| pod.name.as_str()).collect();
        if names == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{names:?} instead of {expected:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn the_copy_follows_added_and_deleted_pods_and_leaves_out_finished_ones() {
    let names: Vec<String> = (0..4).map(|pod| format!("app-a-5d8f7-{pod}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let added = |state: &mut ClusterState| (state.pods, state.terminating, state.evicted) = (3, 1, 2);
    assert_follows(&FakeCluster::with(|_| ()), added, &names).await;
    let deleted = |state: &mut ClusterState| state.pods = 1;
    assert_follows(&FakeCluster::with(|_| ()), deleted, &names[..1]).await;
}

#[tokio::test]
async fn a_list_leaves_out_evicted_pods() {
    let cluster = FakeCluster::with(|state| state.evicted = 2);
    let selector = "app.kubernetes.io/name=app-a";
    let pods = cluster.cluster.pods("sample-app", selector).await.unwrap();
    assert_eq!(pods.len(), 2, "{pods:?}");
}

#[tokio::test]
async fn the_copy_follows_after_an_outage_of_the_api_server() {
    let cluster = FakeCluster::with(|_| ());
    let pods = cluster
        .cluster
        .watch_pods("sample-app", "app.kubernetes.io/name=app-a");
    assert_eq!(pods.objects().await.unwrap().len(), 2);
    cluster.change(|state| state.api_down = true);
    let deadline = Instant::now() + Duration::from_secs(20);
    let error = loop {
        match pods.objects().await {
            Err(error) => break error,
            Ok(_) => assert!(Instant::now() < deadline, "the outage does not show"),
        }
        sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(error.to_string(), "etcdserver: request timed out");
    cluster.change(|state| (state.api_down, state.pods) = (false, 5));
    while pods.objects().await.map(|pods| pods.len()) != Ok(5) {
        assert!(Instant::now() < deadline, "the copy does not recover");
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(lists(&cluster, PODS), 1, "the watch continues where it ended");
}
