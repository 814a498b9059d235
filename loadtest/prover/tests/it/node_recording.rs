//! The recording of a successful run with new nodes: 1 -> 4 -> 1 nodes in three zones.

use prover::prove::{
    AutoscalerKind, Decision, EventMark, NodeCount, NodeLife, NodesPlan, NodesRecord, NodesSample, Phase,
    PodPlacement, PodTrace, Recording, TimeEstimate, TimeRange,
};

use crate::recording::recording;

/// When the pods were back at their minimum, and when the last new node was gone.
const PODS_BACK: f64 = 128.0;
const NODES_BACK: f64 = 170.0;

#[expect(clippy::unnecessary_wraps, reason = "the fields of a record are optional")]
pub(crate) fn at(seconds: f64) -> Option<TimeEstimate> {
    Some(TimeEstimate { seconds, error: 0.5 })
}

fn node(number: u32, zone: &str) -> NodeLife {
    let later = f64::from(number);
    NodeLife {
        name: format!("default-{number}"),
        claim: Some(format!("default-{number}")),
        zone: Some(zone.to_owned()),
        instance_type: Some("small".to_owned()),
        is_new: true,
        claimed: at(5.0),
        launched: at(6.0 + later),
        registered: at(9.0 + later),
        ready: at(11.0 + later),
        initialized: at(11.5 + later),
        not_ready_since: None,
        leaving: at(150.0),
        gone: at(163.0 + 3.0 * later),
        problem: None,
    }
}

fn pod(number: u32) -> PodPlacement {
    let name = format!("app-a-5d8f7-{number}");
    let initial = PodPlacement {
        hpa: "app-a".to_owned(),
        pod: name,
        node: Some("node-a".to_owned()),
        ..PodPlacement::default()
    };
    if number < 2 {
        return initial;
    }
    let node = (number - 2) / 2;
    PodPlacement {
        node: Some(format!("default-{node}")),
        created: at(4.5),
        placed: at(11.7 + f64::from(node)),
        gone: at(126.0),
        pending_reason: Some("0/1 nodes are available: 1 Insufficient cpu.".to_owned()),
        ..initial
    }
}

/// Returns the record of the nodes of the recording.
pub(crate) fn nodes_of(recording: &mut Recording) -> &mut NodesRecord {
    recording.timeline.nodes.as_mut().unwrap()
}

#[expect(clippy::too_many_lines, reason = "one literal")]
pub(crate) fn recording_with_nodes() -> Recording {
    let mut recording = recording();
    let zones = ["zone-b", "zone-c", "zone-a"];
    let first = NodeLife {
        name: "node-a".to_owned(),
        zone: Some("zone-a".to_owned()),
        instance_type: Some("large".to_owned()),
        ..NodeLife::default()
    };
    recording.timeline.nodes = Some(NodesRecord {
        plan: NodesPlan {
            autoscaler: AutoscalerKind::Karpenter,
            zones: None,
            max_skew: None,
            pool_zones: zones.map(str::to_owned).into(),
            deadline_seconds: 60.0,
        },
        before: NodeCount { nodes: 1, claims: 0 },
        most_ready: 4,
        ready_by_zone: [("zone-a", 2), ("zone-b", 1), ("zone-c", 1)]
            .map(|(zone, count)| (zone.to_owned(), count))
            .into(),
        back: Some(NODES_BACK),
        end: NodeCount { nodes: 1, claims: 0 },
        ended: NODES_BACK + 3.0,
        unsettled: None,
        nodes: [first]
            .into_iter()
            .chain((0..).zip(zones).map(|(number, zone)| node(number, zone)))
            .collect(),
        pods: (0..8).map(pod).collect(),
    });
    let timeline = &mut recording.timeline;
    let closing = timeline.samples.pop().unwrap();
    for sample in timeline.samples.iter_mut().filter(|sample| sample.at > PODS_BACK) {
        sample.phase = Phase::RemovingNodes;
    }
    for second in 131..=173 {
        let mut sample = closing.clone();
        sample.at = f64::from(second);
        if sample.at <= NODES_BACK {
            sample.phase = Phase::RemovingNodes;
        }
        timeline.samples.push(sample);
    }
    for sample in &mut timeline.samples {
        let ready = match sample.at {
            12.0..13.0 => 2,
            13.0..14.0 => 3,
            14.0..163.0 => 4,
            163.0..166.0 => 3,
            166.0..169.0 => 2,
            _ => 1,
        };
        let zones = ready.min(3);
        sample.nodes = Some(NodesSample {
            total: ready,
            ready,
            zones,
        });
    }
    let event = |at, regarding: &str, reason: &str, note: &str| EventMark {
        at,
        regarding: regarding.to_owned(),
        reporter: "karpenter".to_owned(),
        reason: reason.to_owned(),
        note: note.to_owned(),
        warning: false,
    };
    timeline.events.extend([
        event(
            5.2,
            "Pod/app-a-5d8f7-2",
            "Nominated",
            "Pod should schedule on: nodeclaim/default-0",
        ),
        event(
            6.1,
            "NodeClaim/default-0",
            "Launched",
            "Status condition transitioned, Type: Launched, Status: Unknown -> True",
        ),
        event(
            150.1,
            "Node/default-0",
            "DisruptionTerminating",
            "Disrupting Node: Empty",
        ),
    ]);
    let trace = recording.traces.get_mut("app-a").unwrap();
    let range = |latest: f64| {
        Some(TimeRange {
            earliest: latest - 0.25,
            latest,
        })
    };
    for (number, pod) in (0..).zip(trace.pods.values_mut()) {
        let later = f64::from(number / 2);
        *pod = PodTrace {
            created: range(4.5),
            scheduled: range(11.9 + later),
            started: range(13.0 + later),
            ready: range(15.0 + later),
            served: None,
            metrics_read: false,
        };
    }
    trace.decisions = vec![Decision {
        replicas: 8,
        time: range(4.25).unwrap(),
    }];
    trace.scraped = range(1.5);
    trace.metric.last_mut().unwrap().time = range(2.0).unwrap();
    trace.enough = range(2.5);
    let first_served = &mut recording.step.as_mut().unwrap().first_served_seconds;
    for pod in ["app-a-5d8f7-2", "app-a-5d8f7-3"] {
        first_served.insert(pod.to_owned(), 15.5);
    }
    recording
}
