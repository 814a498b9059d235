//! Tests of the recorder of nodes, on reads without a cluster.

use std::time::Duration;

use super::*;
use crate::cluster::ReadResult;

fn plan() -> NodesPlan {
    NodesPlan {
        autoscaler: AutoscalerKind::Karpenter,
        zones: None,
        max_skew: None,
        pool_zones: Vec::new(),
        deadline_seconds: 60.0,
    }
}

fn node(name: &str, ready: bool) -> Arc<NodeState> {
    Arc::new(NodeState {
        name: name.to_owned(),
        zone: Some("zone-a".to_owned()),
        ready,
        ..NodeState::default()
    })
}

fn claim(name: &str, node: Option<&str>) -> Arc<ClaimState> {
    Arc::new(ClaimState {
        name: name.to_owned(),
        node: node.map(str::to_owned),
        ..ClaimState::default()
    })
}

fn pod(name: &str, node: Option<&str>) -> Arc<PodState> {
    Arc::new(PodState {
        name: name.to_owned(),
        node: node.map(str::to_owned),
        ..PodState::default()
    })
}

/// Returns a read between two seconds after `start`.
fn read(start: Instant, seconds: [u64; 2]) -> Read {
    let [after, by] = seconds.map(|second| start + Duration::from_secs(second));
    Read { after, by }
}

/// Returns a read of which the times do not matter.
fn now() -> Read {
    read(Instant::now(), [0, 0])
}

fn of_app_a(pods: Vec<Arc<PodState>>) -> BTreeMap<String, Vec<Arc<PodState>>> {
    BTreeMap::from([("app-a".to_owned(), pods)])
}

#[test]
fn a_node_that_is_seen_before_its_claim_names_it_is_one_life() {
    let mut recorder = NodeRecorder::new(plan(), None);
    let start = Instant::now();
    let after = |second: u64| read(start, [second.saturating_sub(1), second]);
    let old = node("old", true);
    let pods = of_app_a(Vec::new());
    recorder.apply(after(0), Phase::Settling, &[Arc::clone(&old)], &[], &pods);
    recorder.apply(
        after(1),
        Phase::ScalingUp,
        &[Arc::clone(&old)],
        &[claim("c", None)],
        &pods,
    );
    let two = |ready| [Arc::clone(&old), node("ip-10-0-0-1", ready)];
    recorder.apply(
        after(2),
        Phase::ScalingUp,
        &two(false),
        &[claim("c", None)],
        &pods,
    );
    recorder.apply(
        after(3),
        Phase::ScalingUp,
        &two(true),
        &[claim("c", Some("ip-10-0-0-1"))],
        &pods,
    );
    recorder.apply(after(4), Phase::RemovingNodes, &[old], &[], &pods);
    let record = recorder.finish(start, None);
    let [life] = &record.nodes[..] else {
        panic!("{:?}", record.nodes)
    };
    assert_eq!(
        (life.name.as_str(), life.claim.as_deref()),
        ("ip-10-0-0-1", Some("c"))
    );
    let times = [life.claimed, life.registered, life.ready, life.gone];
    let seconds = times.map(|time| time.unwrap().range().latest.round());
    assert_eq!(seconds.map(|second| second.to_string()), ["1", "2", "3", "4"]);
    assert_eq!((record.most_ready, record.end.nodes), (2, 1));
    assert!(record.back.is_some());
}

#[test]
fn a_claim_or_a_node_on_its_way_is_not_settled() {
    let ready = Arc::new(ClaimState {
        initialized: Some(Timestamp::UNIX_EPOCH),
        ..ClaimState::default()
    });
    let leaving = Arc::new(NodeState {
        leaving: true,
        ..NodeState::default()
    });
    let deleted = Arc::new(ClaimState {
        deleted: Some(Timestamp::UNIX_EPOCH),
        ..(*ready).clone()
    });
    for (nodes, claims, is_settled) in [
        (vec![node("a", true)], vec![Arc::clone(&ready)], true),
        (vec![node("a", true)], vec![claim("c", None)], false),
        (vec![node("a", true)], vec![deleted], false),
        (vec![leaving], vec![Arc::clone(&ready)], false),
        (vec![node("a", true), node("b", false)], vec![ready], false),
    ] {
        let mut recorder = NodeRecorder::new(plan(), None);
        recorder.apply(now(), Phase::Settling, &nodes, &claims, &of_app_a(Vec::new()));
        assert_eq!(recorder.is_settled(), is_settled, "{nodes:?} {claims:?}");
    }
}

#[test]
fn a_node_that_fails_must_recover_before_the_end_of_the_step() {
    for (last, is_recorded) in [(Phase::Plateau, false), (Phase::ScalingDown, true)] {
        let mut recorder = NodeRecorder::new(plan(), None);
        let pods = of_app_a(vec![pod("p", Some("old"))]);
        let mut apply = |phase, ready| recorder.apply(now(), phase, &[node("old", ready)], &[], &pods);
        apply(Phase::Settling, true);
        apply(Phase::ScalingUp, false);
        apply(Phase::Plateau, true);
        apply(Phase::Plateau, false);
        apply(last, true);
        let record = recorder.finish(Instant::now(), None);
        assert_eq!(record.nodes[0].not_ready_since.is_some(), is_recorded, "{last:?}");
        assert_eq!(
            record.nodes[0].zone.as_deref(),
            Some("zone-a"),
            "the node from before the load has its zone"
        );
    }
}

#[test]
fn a_node_whose_claim_has_another_name_and_is_gone_first_is_one_life() {
    let mut recorder = NodeRecorder::new(plan(), None);
    let start = Instant::now();
    let pods = of_app_a(vec![pod("p", Some("ip-10-0-0-1"))]);
    let mut apply = |second: u64, phase, nodes: &[&str], claims: &[&str]| {
        let nodes: Vec<_> = nodes.iter().map(|name| node(name, true)).collect();
        let claims: Vec<_> = claims
            .iter()
            .map(|name| {
                claim(
                    name,
                    Some(if *name == "first" {
                        "ip-10-0-0-1"
                    } else {
                        "ip-10-0-0-2"
                    }),
                )
            })
            .collect();
        recorder.apply(read(start, [second, second + 1]), phase, &nodes, &claims, &pods);
    };
    apply(0, Phase::Settling, &["ip-10-0-0-1"], &["first"]);
    let both = ["ip-10-0-0-1", "ip-10-0-0-2"];
    apply(1, Phase::ScalingUp, &both, &["first", "second"]);
    apply(2, Phase::RemovingNodes, &both, &["first"]);
    apply(3, Phase::RemovingNodes, &["ip-10-0-0-1"], &["first"]);
    let record = recorder.finish(start, None);
    let found: Vec<_> = record
        .nodes
        .iter()
        .map(|life| {
            let gone = life.gone.map(|gone| gone.range().latest.round());
            (
                life.name.as_str(),
                life.claim.as_deref(),
                life.zone.is_some(),
                gone,
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("ip-10-0-0-1", Some("first"), true, None),
            ("ip-10-0-0-2", Some("second"), true, Some(4.0))
        ]
    );
}

#[test]
fn a_removal_that_is_taken_back_and_a_node_that_returns_leave_no_times() {
    let mut recorder = NodeRecorder::new(plan(), None);
    let pods = of_app_a(Vec::new());
    let claims = [claim("c", Some("new"))];
    let tainted = Arc::new(NodeState {
        leaving: true,
        ..(*node("new", true)).clone()
    });
    let deleted = Arc::new(ClaimState {
        deleted: Some(Timestamp::UNIX_EPOCH),
        ..(*claims[0]).clone()
    });
    let mut apply = |nodes: &[Arc<NodeState>], claims: &[Arc<ClaimState>]| {
        recorder.apply(now(), Phase::Plateau, nodes, claims, &pods);
        let life = &recorder.lives["c"];
        (life.leaving.is_some(), life.gone.is_some())
    };
    assert_eq!(apply(&[tainted], &claims), (true, false));
    assert_eq!(apply(&[node("new", true)], &claims), (false, false));
    assert_eq!(apply(&[], &[]), (false, true));
    assert_eq!(apply(&[node("new", true)], &claims), (false, false));
    assert_eq!(
        apply(&[node("new", true)], &[deleted]),
        (true, false),
        "the taint of a deleted NodeClaim follows"
    );
    assert_eq!(apply(&[node("new", true)], &[]), (true, false));
}

#[tokio::test]
async fn a_failed_read_does_not_count_and_a_change_is_after_the_start_of_the_last_read() {
    let mut recorder = NodeRecorder::new(plan(), None);
    let found = |nodes: ReadResult<&[Arc<NodeState>]>| Observation {
        hpas: BTreeMap::new(),
        pods: of_app_a(Vec::new()),
        nodes: nodes.map(<[_]>::to_vec),
        problem: None,
    };
    let failed = found(Err(ReadError("forbidden".to_owned())));
    let old = node("old", true);
    let origin = Instant::now();
    let began = origin.checked_sub(Duration::from_secs(10)).unwrap();
    let error = recorder.record(Phase::Settling, began, &failed).await;
    assert_eq!(error, Err(ReadError("nodes: forbidden".to_owned())));
    assert!(!recorder.is_settled());
    let read = found(Ok(&[Arc::clone(&old)]));
    recorder.record(Phase::Settling, began, &read).await.unwrap();
    recorder.record(Phase::Plateau, began, &failed).await.unwrap_err();
    assert!(recorder.is_settled(), "the nodes were settled before the load");
    let read = found(Ok(&[old, node("new", true)]));
    recorder.record(Phase::Plateau, origin, &read).await.unwrap();
    let record = recorder.finish(origin, None);
    let ready = record.new_nodes().next().unwrap().ready.unwrap().range();
    assert!(ready.earliest < -9.0 && ready.latest >= 0.0, "{ready:?}");
}

/// Returns the shortest of ten reads of this number of nodes with five pods each, and the record.
fn shortest_read(count: usize) -> (Duration, NodesRecord) {
    let nodes: Vec<_> = (0..count)
        .map(|number| node(&format!("node-{number}"), true))
        .collect();
    let claims: Vec<_> = (0..count)
        .map(|number| claim(&format!("claim-{number}"), Some(&format!("node-{number}"))))
        .collect();
    let pods = (0..5 * count).map(|number| {
        pod(
            &format!("pod-{number}"),
            Some(&format!("node-{}", number % count)),
        )
    });
    let pods = of_app_a(pods.collect());
    let mut recorder = NodeRecorder::new(plan(), None);
    let half = count / 2;
    recorder.apply(
        now(),
        Phase::Settling,
        &nodes[..half],
        &claims[..half],
        &of_app_a(Vec::new()),
    );
    let times = (0..10).map(|_| {
        let start = Instant::now();
        recorder.apply(now(), Phase::ScalingUp, &nodes, &claims, &pods);
        start.elapsed()
    });
    let shortest = times.min().unwrap();
    (shortest, recorder.finish(Instant::now(), None))
}

#[test]
fn the_time_to_record_a_read_grows_with_the_number_of_nodes_and_not_with_its_square() {
    let (few, _) = shortest_read(100);
    let (many, record) = shortest_read(1000);
    // Ten times as many nodes.
    assert!(many < few * 50, "{few:?} for 100 nodes, {many:?} for 1,000");
    assert_eq!(
        (record.nodes.len(), record.pods.len(), record.most_ready),
        (1000, 5000, 1000)
    );
    assert_eq!(record.new_nodes().count(), 500);
}
