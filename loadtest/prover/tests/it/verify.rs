//! The tests of a delivery that read the cluster, each on a cluster on which it passes, and on one that is broken in just that way.

use std::{os::unix::fs::PermissionsExt, path::PathBuf, sync::atomic::Ordering, time::Duration};

use engine::{Plan, Schedule, units::Rate};
use prover::verify::{
    ApplyOptions, Judgement, RegionCluster, SettleOptions, SpreadOptions, Tolerance, apply, settle, spread,
};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::{cluster_state::ClusterState, fake_cluster::FakeCluster, scaling_cluster::ScalingCluster};

fn within(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

/// Asserts that a test failed for this reason, and saw this.
pub(crate) fn assert_failed(judged: &Judgement, reason: &str, seen: &str) {
    let failure = judged.failure.as_deref().unwrap_or("it passed");
    assert!(
        failure.contains(reason),
        "{reason:?} is missing in: {failure}; {}",
        judged.seen
    );
    assert!(
        judged.seen.contains(seen),
        "{seen:?} is missing in: {}",
        judged.seen
    );
}

pub(crate) fn assert_passed(judged: &Judgement, seen: &str) {
    assert_eq!(judged.failure, None, "{}", judged.seen);
    assert!(
        judged.seen.contains(seen),
        "{seen:?} is missing in: {}",
        judged.seen
    );
}

/// A program in place of kubectl.
struct Kubectl {
    folder: TempDir,
}

impl Kubectl {
    /// Writes a shell script. It records its arguments.
    fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let kubectl = Self { folder };
        let text = format!(
            "#!/bin/sh\necho \"$@\" > '{}'\n{script}\n",
            kubectl.path("arguments").display()
        );
        std::fs::write(kubectl.path("kubectl"), text).unwrap();
        std::fs::set_permissions(kubectl.path("kubectl"), PermissionsExt::from_mode(0o755)).unwrap();
        kubectl
    }

    /// Applies a Namespace and the Deployment app-a.
    fn applying() -> Self {
        Self::new(
            r#"cat <<'END'
{"kind": "List", "apiVersion": "v1", "items": [
 {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "sample-app"}},
 {"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "app-a", "namespace": "sample-app"}}]}
END"#,
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn apply(&self, cluster: &FakeCluster, seconds: u64) -> Judgement {
        let options = ApplyOptions {
            kubectl: self.path("kubectl"),
            overlay: "overlays/local".into(),
            context: Some("fake".to_owned()),
        };
        apply(&cluster.cluster, &options, within(seconds)).await
    }
}

#[tokio::test]
async fn apply_runs_kubectl_and_waits_until_the_deployments_are_available() {
    let kubectl = Kubectl::applying();
    let cluster = FakeCluster::with(|state| state.unready = 1);
    let repaired = cluster.clone();
    let (judged, ()) = tokio::join!(kubectl.apply(&cluster, 30), async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        repaired.change(|state| state.unready = 0);
    });
    assert_passed(&judged, "kubectl apply exits with 0; available: sample-app/app-a");
    let arguments = std::fs::read_to_string(kubectl.path("arguments")).unwrap();
    assert_eq!(
        arguments.trim(),
        "--context fake apply --output json --kustomize overlays/local"
    );
}

#[tokio::test]
async fn apply_fails_with_the_exit_code_and_the_message_of_kubectl() {
    let kubectl = Kubectl::new("echo 'error: must build at directory: not found' >&2; exit 3");
    let judged = kubectl.apply(&FakeCluster::with(|_| {}), 30).await;
    assert_failed(
        &judged,
        "kubectl apply -k overlays/local exits with 3",
        "must build at directory",
    );
    let empty = Kubectl::new(r#"echo '{"kind": "List", "items": []}'"#);
    let judged = empty.apply(&FakeCluster::with(|_| {}), 30).await;
    assert_failed(&judged, "the overlay contains no Deployment", "exits with 0");
    let hanging = Kubectl::new("exec sleep 60");
    let judged = hanging.apply(&FakeCluster::with(|_| {}), 1).await;
    assert_failed(&judged, "did not exit", "");
    std::fs::remove_file(kubectl.path("kubectl")).unwrap();
    let judged = kubectl.apply(&FakeCluster::with(|_| {}), 30).await;
    assert_failed(&judged, "cannot be started (--kubectl)", "No such file");
}

#[tokio::test]
async fn apply_fails_at_its_deadline_with_the_pod_that_is_not_ready_and_at_once_if_the_rollout_is_stuck() {
    let kubectl = Kubectl::applying();
    let judged = kubectl
        .apply(&FakeCluster::with(|state| state.unready = 1), 2)
        .await;
    assert_failed(
        &judged,
        "1 of 1 Deployments are not available",
        "sample-app/app-a: 1 of 2 pods are available; pod app-a-5d8f7-1: CrashLoopBackOff",
    );
    let stuck = FakeCluster::with(|state| {
        state.unready = 1;
        state.stuck = Some("ReplicaSet app-a-5d8f7 has timed out progressing.");
    });
    let started = Instant::now();
    let judged = kubectl.apply(&stuck, 600).await;
    assert_failed(&judged, "not available", "has timed out progressing");
    assert!(
        started.elapsed() < Duration::from_mins(1),
        "it waited for the deadline"
    );
}

async fn spread_of(change: impl FnOnce(&mut ClusterState), seconds: u64) -> Judgement {
    let options = SpreadOptions {
        namespace: "sample-app".to_owned(),
        max_skew: 1,
        min_zones: 2,
        max_region_skew: None,
    };
    let region = RegionCluster {
        context: "eu".to_owned(),
        cluster: FakeCluster::with(change).cluster,
    };
    spread(&[region], &options, within(seconds)).await
}

#[tokio::test]
async fn pods_over_two_zones_are_spread_and_pods_in_one_are_not() {
    let judged = spread_of(|state| state.pods = 5, 30).await;
    assert_passed(&judged, "app-a: eu (zone-a 3, zone-b 2)");
    let judged = spread_of(|state| state.zones = ["zone-a", "zone-a"], 1).await;
    assert_failed(
        &judged,
        "app-a: 1 zones of eu have a ready pod, fewer than 2",
        "eu (zone-a 2)",
    );
    let judged = spread_of(
        |state| {
            // Two of the ready pods are on node-a, one is on node-b.
            state.pods = 6;
            state.unready = 3;
        },
        1,
    )
    .await;
    assert_passed(&judged, "eu (zone-a 2, zone-b 1)");
    let judged = spread_of(|state| state.nodes_forbidden = true, 1).await;
    assert_failed(&judged, "cannot be read", "nodes is forbidden");
}

/// The load of `settled`: a hundred requests per second, so that every second has many.
fn settle_options(cluster: &ScalingCluster, window: usize) -> SettleOptions {
    let setup = cluster.setup();
    SettleOptions {
        namespace: setup.namespace,
        tolerance: Tolerance {
            window,
            // The response time of a busy machine varies.
            latency_floor_ms: 100.0,
            ..Tolerance::of_window(Duration::from_secs(20))
        },
        plan: Plan {
            schedule: Schedule::constant(Rate::per_second(50), Duration::from_mins(2)),
            ..setup.step
        },
        addresses: setup.addresses,
    }
}

async fn settled(cluster: &ScalingCluster, window: usize, seconds: u64) -> (Judgement, Vec<String>) {
    let options = settle_options(cluster, window);
    let mut progress = Vec::new();
    let judged = settle(&cluster.fake.cluster, &options, within(seconds), &mut |text| {
        progress.push(text.to_owned());
    })
    .await;
    (judged.unwrap(), progress)
}

/// Two pods, and a metric of 50 requests per second.
fn steady(state: &mut ClusterState, _: f64) {
    state.metric_sum = 50.0;
}

#[tokio::test]
async fn a_steady_deployment_is_settled_after_two_windows() {
    let cluster = ScalingCluster::start(steady).await;
    let (judged, progress) = settled(&cluster, 5, 60).await;
    assert_passed(&judged, "replicas of app-a: 2 throughout");
    assert!(
        judged.seen.contains("load of app-a: 50 then 50 requests/s"),
        "{}",
        judged.seen
    );
    assert!(progress.is_empty(), "{progress:?}");
    let observed = judged
        .figures
        .iter()
        .find(|figure| figure.name == "observed")
        .unwrap();
    assert!((9.0..20.0).contains(&observed.value), "{observed:?}");
    assert!(cluster.requests.load(Ordering::SeqCst) > 300);
}

#[tokio::test]
async fn a_deployment_that_still_scales_is_settled_only_afterwards() {
    let start = Instant::now();
    let cluster = ScalingCluster::start(move |state, _| {
        state.metric_sum = 50.0;
        let pods = if start.elapsed() < Duration::from_secs(7) {
            2
        } else {
            3
        };
        (state.desired, state.pods) = (pods, pods);
    })
    .await;
    let (judged, progress) = settled(&cluster, 5, 60).await;
    assert_passed(&judged, "replicas of app-a: 3 throughout");
    let [first, ..] = &progress[..] else {
        panic!("the comparison of the first two windows is missing");
    };
    assert!(
        first.starts_with("not settled: ") && first.contains("replicas of app-a: changed: desired 2"),
        "{first}"
    );
}

#[tokio::test]
async fn a_deployment_is_not_settled_while_its_load_grows_its_pods_are_missing_or_requests_fail() {
    let start = Instant::now();
    let growing = ScalingCluster::start(move |state, _| {
        state.metric_sum = 50.0 * 2.0_f64.powf(start.elapsed().as_secs_f64() / 5.0);
    })
    .await;
    let missing = ScalingCluster::start(|state, _| {
        state.metric_sum = 50.0;
        state.unready = 1;
    })
    .await;
    let (growing, missing) = tokio::join!(settled(&growing, 5, 13), settled(&missing, 5, 13));
    assert_failed(
        &growing.0,
        "the last two windows of 5 s before the deadline differ",
        "load of app-a",
    );
    assert_failed(
        &missing.0,
        "differ",
        "replicas of app-a: desired 2, current 2, ready 1",
    );
    assert!(!growing.1.is_empty(), "the progress names what has not settled");
    let cluster = ScalingCluster::start(steady).await;
    let mut options = settle_options(&cluster, 5);
    options.plan.expectations.bodies = vec!["another text".to_owned()];
    let judged = settle(&cluster.fake.cluster, &options, within(13), &mut |_| ())
        .await
        .unwrap();
    assert_failed(&judged, "differ", "requests failed: ");
    let (judged, _) = settled(&cluster, 5, 6).await;
    assert_failed(&judged, "fewer than two windows of 5 s", "were observed");
    cluster.fake.change(|state| state.hpa_exists = false);
    let (judged, _) = settled(&cluster, 5, 60).await;
    assert_failed(&judged, "there is no HPA in sample-app", "");
}
