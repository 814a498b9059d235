//! A successful run with new nodes passes. Each fault of the nodes fails its own assertion, which reports the observation.

use prover::prove::{EventMark, NodeLife, Recording, ScaleReport, ScaleVerdict, Stage, TimeRange};

use crate::{
    node_recording::{at, nodes_of, recording_with_nodes},
    recording::{assert_failed_only, describe_assertions, judge},
};

fn judged(change: impl FnOnce(&mut Recording)) -> ScaleReport {
    let mut recording = recording_with_nodes();
    change(&mut recording);
    judge(recording)
}

/// Asserts that a change of the recording fails exactly these assertions, and that the first observation contains `says`.
fn assert_fails(names: &[&str], says: &str, change: impl FnOnce(&mut Recording)) {
    let report = judged(change);
    assert_failed_only(&report, names, says);
    assert_eq!(report.verdict, ScaleVerdict::Failed);
}

#[test]
fn a_successful_run_passes_with_the_values_that_were_seen() {
    let report = judged(|_| ());
    let text = describe_assertions(&report);
    assert_eq!(report.verdict, ScaleVerdict::Passed, "{text}");
    let found: Vec<_> = report.runs[0]
        .assertions
        .iter()
        .map(|assertion| (assertion.name, assertion.observed.as_str()))
        .filter(|(name, _)| name.starts_with("node") || name.starts_with("pods"))
        .collect();
    assert_eq!(
        found,
        [
            ("nodes-added", "1 -> 4: 3 new, the last ready after 13 s"),
            ("node-events-added", "karpenter Launched 1, karpenter Nominated 1"),
            ("nodes-ready", "3 of 3 ready"),
            (
                "nodes-spread",
                "new nodes: 3, zones: 3 (zone-a 1, zone-b 1, zone-c 1); all ready nodes: zone-a 2, zone-b 1, zone-c 1, skew 1"
            ),
            ("pods-placed", "8 of 8 pods have a node, 6 of them a new one"),
            (
                "nodes-served",
                "new nodes served 23814 of 31752 requests: default-2 (zone-a) 7938; default-0 (zone-b) 7938; default-1 \
                 (zone-c) 7938"
            ),
            ("nodes-removed", "back at 1 after 42 s"),
            ("node-events-removed", "karpenter DisruptionTerminating 1"),
        ],
        "the names are a stable interface"
    );
}

#[test]
fn a_step_without_a_new_node_fails() {
    assert_fails(
        &[
            "nodes-added",
            "node-events-added",
            "nodes-ready",
            "nodes-spread",
            "nodes-served",
            "node-events-removed",
        ],
        "still 1: no node was added",
        |run| {
            let nodes = nodes_of(run);
            nodes.nodes.retain(|node| !node.is_new);
            nodes
                .pods
                .iter_mut()
                .for_each(|pod| pod.node = Some("node-a".to_owned()));
            nodes.most_ready = 1;
        },
    );
}

#[test]
fn a_node_that_is_stuck_or_fails_during_the_step_fails() {
    assert_fails(
        &["nodes-ready"],
        "2 of 3 ready: default-1 (zone-c) launched for 74 s: no such image",
        |run| {
            let node = &mut nodes_of(run).nodes[2];
            (node.registered, node.ready, node.problem) = (None, None, Some("no such image".to_owned()));
        },
    );
    assert_fails(&["nodes-ready"], "default-0 (zone-b) not ready for 21 s", |run| {
        nodes_of(run).nodes[1].not_ready_since = at(60.0);
    });
}

/// A case, and a change of a node that leads to it.
type ChangedLife = (&'static str, fn(&mut NodeLife));

#[test]
fn a_node_that_is_given_up_and_its_replacement_do_not_count() {
    let changes: [ChangedLife; 3] = [
        ("Karpenter gave up on a node, and added another one", |node| {
            (node.ready, node.gone) = (None, at(20.0));
        }),
        ("Karpenter is giving up on it at the end of the step", |node| {
            (node.ready, node.leaving) = (None, at(79.0));
        }),
        (
            "it replaces another node, and is on its way at the end of the step",
            |node| {
                (node.claimed, node.launched, node.registered, node.ready) =
                    (at(78.0), at(80.0), at(90.0), at(92.0));
            },
        ),
    ];
    for (case, change) in changes {
        let report = judged(|run| {
            let nodes = nodes_of(run);
            let mut further = nodes.nodes[1].clone();
            further.name = "default-9".to_owned();
            change(&mut further);
            nodes.nodes.push(further);
        });
        let text = describe_assertions(&report);
        assert_eq!(report.verdict, ScaleVerdict::Passed, "{case}: {text}");
    }
}

#[test]
fn nodes_in_too_few_zones_or_unevenly_spread_fail() {
    let in_one_zone = |run: &mut Recording| {
        for node in nodes_of(run).nodes.iter_mut().filter(|node| node.is_new) {
            node.zone = Some("zone-b".to_owned());
        }
        let zones = &mut nodes_of(run).ready_by_zone;
        zones.clear();
        zones.extend([("zone-a".to_owned(), 1), ("zone-b".to_owned(), 3)]);
    };
    assert_fails(
        &["nodes-spread"],
        "new nodes: 3, zones: 1 (zone-b 3); all ready nodes: zone-a 1, zone-b 3, zone-c 0, skew 3",
        in_one_zone,
    );
    assert_fails(&["nodes-spread"], "new nodes: 3, zones: 3", |run| {
        nodes_of(run).plan.zones = Some(4);
    });
    assert_fails(&["nodes-spread"], "skew 1", |run| {
        nodes_of(run).plan.max_skew = Some(0);
    });
    let alone = judged(|run| {
        in_one_zone(run);
        let nodes = nodes_of(run);
        nodes.plan.pool_zones.clear();
        nodes.nodes.iter_mut().for_each(|node| node.zone = None);
        nodes.ready_by_zone.clear();
    });
    assert_eq!(
        alone.verdict,
        ScaleVerdict::Passed,
        "without zone labels: {}",
        describe_assertions(&alone)
    );
}

#[test]
fn a_pod_that_is_pending_at_the_end_of_the_step_fails() {
    assert_fails(
        &["pods-placed"],
        "1 of 8 pending: app-a-5d8f7-7 pending for 76 s (0/1 nodes are available",
        |run| {
            let pod = &mut nodes_of(run).pods[7];
            (pod.node, pod.placed) = (None, None);
        },
    );
}

#[test]
fn a_new_node_that_serves_nothing_fails() {
    assert_fails(
        &["nodes-served"],
        "1 of 3 served nothing: default-1 (zone-c)",
        |run| {
            let served = &mut run.step.as_mut().unwrap().served_by;
            served.remove("app-a-5d8f7-4");
            served.remove("app-a-5d8f7-5");
        },
    );
    assert_fails(&["nodes-served"], "no response names its pod", |run| {
        run.step.as_mut().unwrap().served_by.clear();
    });
}

#[test]
fn nodes_that_stay_or_go_too_late_fail() {
    assert_fails(
        &["nodes-removed"],
        "still nodes: 2; default-2 (zone-a) being removed for 23 s",
        |run| {
            let nodes = nodes_of(run);
            (nodes.back, nodes.end.nodes, nodes.nodes[3].gone) = (None, 2, None);
        },
    );
    assert_fails(
        &["nodes-removed"],
        "still NodeClaims: 1, before the load: 0; default-2",
        |run| {
            let nodes = nodes_of(run);
            (nodes.back, nodes.end.claims, nodes.nodes[3].gone) = (None, 1, None);
        },
    );
    assert_fails(&["nodes-removed"], "back at 1 after 42 s", |run| {
        nodes_of(run).plan.deadline_seconds = 40.0;
    });
    assert_fails(&["nodes-removed"], "at the end nodes: 2", |run| {
        nodes_of(run).end.nodes = 2;
    });
}

#[test]
fn missing_events_of_the_autoscaler_fail() {
    assert_fails(
        &["node-events-added", "node-events-removed"],
        "none of karpenter: Nominated",
        |run| {
            run.timeline.events.retain(|event| event.reporter != "karpenter");
        },
    );
    assert_fails(&["node-events-added"], "none of", |run| {
        run.timeline.events.retain(|event| event.reason != "Nominated");
        run.timeline
            .events
            .iter_mut()
            .for_each(|event| event.note = event.note.replace("True", "False"));
    });
}

#[test]
fn events_about_other_nodes_or_from_before_the_end_of_the_load_do_not_count() {
    assert_fails(&["node-events-added"], "none of", |run| {
        for event in &mut run.timeline.events {
            for text in [&mut event.regarding, &mut event.note] {
                if event.reason != "DisruptionTerminating" {
                    *text = text.replace("default-0", "default-01");
                }
            }
        }
    });
    let change_removal = |change: fn(&mut EventMark)| {
        move |run: &mut Recording| {
            let mut events = run.timeline.events.iter_mut();
            change(
                events
                    .find(|event| event.reason == "DisruptionTerminating")
                    .unwrap(),
            );
        }
    };
    assert_fails(
        &["node-events-removed"],
        "none of",
        change_removal(|event| event.regarding = "Node/node-z".to_owned()),
    );
    assert_fails(
        &["node-events-removed"],
        "none of",
        change_removal(|event| event.at = 79.0),
    );
    let note = "Pod should schedule on: nodeclaim/default-1, node/ip-10-0-0-1";
    let named = judged(|run| {
        run.timeline.events.retain(|event| event.reason != "Launched");
        let mut events = run.timeline.events.iter_mut();
        events.find(|event| event.reason == "Nominated").unwrap().note = note.to_owned();
    });
    assert_eq!(
        named.verdict,
        ScaleVerdict::Passed,
        "{}",
        describe_assertions(&named)
    );
}

#[test]
fn a_node_from_before_the_load_may_go_instead_of_a_new_one() {
    let report = judged(|run| {
        let nodes = nodes_of(run);
        (nodes.nodes[0].leaving, nodes.nodes[0].gone) = (at(150.0), at(165.0));
        (nodes.nodes[3].leaving, nodes.nodes[3].gone) = (None, None);
        for event in &mut run.timeline.events {
            event.regarding = event.regarding.replace("Node/default-0", "Node/node-a");
        }
    });
    let text = describe_assertions(&report);
    assert_eq!(report.verdict, ScaleVerdict::Passed, "{text}");
}

#[test]
fn a_time_without_reads_of_the_nodes_fails() {
    assert_fails(
        &["watched"],
        "no read for 13 s, from 49 s on: nodes: forbidden",
        |run| {
            let samples = run.timeline.samples.iter_mut();
            for sample in samples.filter(|sample| (50.0..62.0).contains(&sample.at)) {
                (sample.nodes, sample.problem) = (None, Some("nodes: forbidden".to_owned()));
            }
        },
    );
}

#[test]
fn a_pod_that_is_created_after_its_node_is_ready_does_not_wait_for_the_node() {
    let report = judged(|run| {
        let trace = run.traces.get_mut("app-a").unwrap();
        let pod = trace.pods.get_mut("app-a-5d8f7-7").unwrap();
        (pod.created, pod.scheduled) = (Some(TimeRange::exactly(13.75)), Some(TimeRange::exactly(14.0)));
    });
    let paths = &report.runs[0].time_to_scale[0].pods;
    let path = paths.iter().find(|path| path.pod == "app-a-5d8f7-7").unwrap();
    let of_node: Vec<_> = path
        .stages
        .iter()
        .filter(|time| time.stage.is_of_node())
        .collect();
    assert_eq!(of_node.len(), 4, "{path:?}");
    for time in of_node {
        let took = time.took.unwrap();
        assert!(took.seconds.abs() < 1e-9 && took.error < 1e-9, "{path:?}");
    }
}

#[test]
fn the_stages_of_a_pod_contain_those_of_its_new_node() {
    let report = judged(|_| ());
    let path = report.runs[0].time_to_scale[0].last().unwrap();
    let stages: Vec<_> = path
        .stages
        .iter()
        .map(|time| (time.stage, time.at.map(|at| at.seconds.round())))
        .collect();
    // The last pod waits for default-2.
    assert_eq!(
        stages[5..11],
        [
            (Stage::Created, Some(4.0)),
            (Stage::Claimed, Some(5.0)),
            (Stage::Launched, Some(8.0)),
            (Stage::Registered, Some(11.0)),
            (Stage::NodeReady, Some(13.0)),
            (Stage::Scheduled, Some(14.0)),
        ],
        "{path:?}"
    );
    let old = judged(|run| nodes_of(run).pods[7].node = Some("node-a".to_owned()));
    let all = &old.runs[0].time_to_scale[0].pods;
    let of_old = all.iter().find(|path| path.pod == "app-a-5d8f7-7").unwrap();
    assert!(
        of_old.stages.iter().all(|time| !time.stage.is_of_node()),
        "{of_old:?}"
    );
}
