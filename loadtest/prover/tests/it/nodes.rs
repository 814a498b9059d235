//! Whole runs against a fake cluster whose nodes come and go.

use std::time::Duration;

use engine::Interrupt;
use prover::{
    cluster::NodeAutoscaler,
    prove::{
        AssertionVerdict, NodesPlan, Phase, Progress, ScaleReport, ScaleVerdict, Stage, drive, plan_nodes,
    },
};

use crate::{
    fake_nodes::{FakeAutoscaler, NodeFault},
    recording::describe_assertions,
    scaling_cluster::{ScalingCluster, judge},
};

/// Plans the nodes, as the command does, with a short deadline.
async fn plan(cluster: &ScalingCluster) -> NodesPlan {
    let found = cluster.fake.cluster.node_autoscaler().await.unwrap();
    plan_nodes(found, None, None, Some(Duration::from_secs(6))).unwrap()
}

async fn run(autoscaler: FakeAutoscaler, fault: NodeFault) -> ScaleReport {
    let cluster = ScalingCluster::with_nodes(autoscaler, fault).await;
    let mut setup = cluster.setup();
    setup.nodes = Some(plan(&cluster).await);
    let mut interrupt = Interrupt::never();
    let mut ignore = |_: Progress<'_>| ();
    let recording = drive(&cluster.fake.cluster, &setup, &mut interrupt, &mut ignore).await;
    judge(recording.unwrap())
}

/// Asserts that an assertion fails with an observation that contains `says`.
fn assert_failed(report: &ScaleReport, name: &str, says: &str) {
    let text = describe_assertions(report);
    assert_eq!(report.verdict, ScaleVerdict::Failed, "{text}");
    let found = report.runs[0]
        .assertions
        .iter()
        .find(|assertion| assertion.name == name)
        .unwrap();
    assert_eq!(found.verdict, AssertionVerdict::Failed, "{text}");
    assert!(found.observed.contains(says), "{says:?} is missing: {text}");
}

#[tokio::test]
async fn nodes_come_with_the_pods_and_go_with_them() {
    let report = run(FakeAutoscaler::Karpenter, NodeFault::None).await;
    let text = describe_assertions(&report);
    assert_eq!(report.verdict, ScaleVerdict::Passed, "{text}");
    for line in [
        "Passed nodes-added : new nodes become ready during the step: more than the 1 before the load: 1 -> 3: 2 new",
        "Passed nodes-ready : every new node from before the plateau that is not being removed is ready at the end of the step: 2 of 2 ready",
        "new nodes: 2, zones: 2 (zone-b 1, zone-c 1); all ready nodes: zone-a 1, zone-b 1, zone-c 1, skew 0",
        "6 of 6 pods have a node, 4 of them a new one",
        "Passed nodes-served",
        "back at 1 after",
        "karpenter Initialized 2, karpenter Launched 2, karpenter Nominated 2, karpenter Registered 2",
        "karpenter DisruptionTerminating 2",
    ] {
        assert!(text.contains(line), "{line:?} is missing: {text}");
    }
    let run = &report.runs[0];
    let nodes = run.timeline.nodes.as_ref().unwrap();
    let names: Vec<_> = nodes
        .nodes
        .iter()
        .map(|node| (node.name.as_str(), node.claim.as_deref(), node.zone.as_deref()))
        .collect();
    assert_eq!(
        names,
        [
            ("node-a", Some("default-first"), Some("zone-a")),
            ("ip-10-0-0-0", Some("default-0"), Some("zone-b")),
            ("ip-10-0-0-1", Some("default-1"), Some("zone-c"))
        ]
    );
    for node in nodes.new_nodes() {
        let times: Vec<f64> = node.stages().iter().map(|time| time.unwrap().seconds).collect();
        // A stage of the fake cluster takes 0.6 s, and the API's times are full seconds.
        assert!(times.windows(2).all(|pair| pair[0] <= pair[1] + 1.0), "{node:?}");
        assert!(
            node.initialized.is_some() && times[3] > times[0] && times[5] > times[3],
            "{node:?}"
        );
    }
    let path = run.time_to_scale[0].last().unwrap();
    let stages: Vec<_> = path
        .stages
        .iter()
        .map(|time| (time.stage, time.at.is_some()))
        .collect();
    for stage in [
        Stage::Claimed,
        Stage::Launched,
        Stage::Registered,
        Stage::NodeReady,
    ] {
        assert!(
            stages.contains(&(stage, true)),
            "{stage:?} is missing: {stages:?}"
        );
    }
    assert!(run.timeline.of_phase(Phase::RemovingNodes).count() > 0);
    let served: Vec<_> = run
        .served
        .iter()
        .map(|row| (row.node.as_str(), row.is_new, row.pods))
        .collect();
    assert_eq!(
        served,
        [
            ("node-a", false, 2),
            ("ip-10-0-0-0", true, 2),
            ("ip-10-0-0-1", true, 2)
        ]
    );
}

#[tokio::test]
async fn nodes_of_a_cluster_autoscaler_have_no_claims() {
    let report = run(FakeAutoscaler::ClusterAutoscaler, NodeFault::None).await;
    let text = describe_assertions(&report);
    assert_eq!(report.verdict, ScaleVerdict::Passed, "{text}");
    assert!(text.contains("cluster-autoscaler TriggeredScaleUp 2"), "{text}");
    assert!(text.contains("cluster-autoscaler ScaleDown 2"), "{text}");
    let path = report.runs[0].time_to_scale[0].last().unwrap();
    let has = |stage| {
        path.stages
            .iter()
            .any(|time| time.stage == stage && time.at.is_some())
    };
    assert!(
        has(Stage::Registered) && has(Stage::NodeReady) && !has(Stage::Claimed),
        "{path:?}"
    );
}

#[tokio::test]
async fn a_node_that_never_joins_fails_the_run() {
    let report = run(FakeAutoscaler::Karpenter, NodeFault::Stuck).await;
    assert_failed(
        &report,
        "nodes-ready",
        "1 of 2 ready: default-1 (zone-c) launched for ",
    );
    assert_failed(&report, "nodes-ready", "Node not registered with cluster");
    assert_failed(
        &report,
        "pods-placed",
        "2 of 6 pending: app-a-5d8f7-4 pending for ",
    );
}

#[tokio::test]
async fn new_nodes_in_one_zone_fail_the_run() {
    let report = run(FakeAutoscaler::Karpenter, NodeFault::OneZone).await;
    assert_failed(
        &report,
        "nodes-spread",
        "new nodes: 2, zones: 1 (zone-b 2); all ready nodes: zone-a 1, zone-b 2, zone-c 0, skew 2",
    );
}

#[tokio::test]
async fn a_pod_that_stays_pending_fails_the_run() {
    let report = run(FakeAutoscaler::Karpenter, NodeFault::PendingPod).await;
    assert_failed(
        &report,
        "pods-placed",
        "1 of 6 pending: app-a-5d8f7-5 pending for ",
    );
    assert_failed(
        &report,
        "pods-placed",
        "(0/1 nodes are available: 1 Insufficient cpu.)",
    );
}

#[tokio::test]
async fn a_node_that_is_not_removed_fails_the_run() {
    let report = run(FakeAutoscaler::Karpenter, NodeFault::NotRemoved).await;
    assert_failed(
        &report,
        "nodes-removed",
        "still nodes: 2; ip-10-0-0-1 (zone-c) being removed for ",
    );
}

#[tokio::test]
async fn an_autoscaler_without_events_fails_the_run() {
    let report = run(FakeAutoscaler::Karpenter, NodeFault::Silent).await;
    assert_failed(&report, "node-events-added", "none of karpenter: Nominated");
    assert_failed(
        &report,
        "node-events-removed",
        "none of karpenter: DisruptionTerminating",
    );
}

#[tokio::test]
async fn the_autoscaler_is_found_by_its_objects() {
    for (autoscaler, expected) in [
        (FakeAutoscaler::None, None),
        (
            FakeAutoscaler::KarpenterWithoutPool,
            Some(NodeAutoscaler::Karpenter(Vec::new())),
        ),
        (
            FakeAutoscaler::OldKarpenter,
            Some(NodeAutoscaler::UnsupportedKarpenter {
                versions: vec!["v1beta1".to_owned()],
            }),
        ),
        (
            FakeAutoscaler::ClusterAutoscaler,
            Some(NodeAutoscaler::ClusterAutoscaler {
                scale_down_delay: Duration::from_mins(2),
            }),
        ),
    ] {
        let cluster = ScalingCluster::with_nodes(autoscaler, NodeFault::None).await;
        assert_eq!(
            cluster.fake.cluster.node_autoscaler().await,
            Ok(expected),
            "{autoscaler:?}"
        );
    }
    let cluster = ScalingCluster::with_nodes(FakeAutoscaler::Karpenter, NodeFault::None).await;
    let plan = plan(&cluster).await;
    assert_eq!(plan.pool_zones, ["zone-a", "zone-b", "zone-c"]);
}
