//! The recording of a successful run: 2 -> 8 -> 2 replicas on a step of 392 requests per second.

use std::{collections::BTreeMap, time::Duration};

use engine::{Bounds, FailureKind, LoadReport, Spacing, Threshold, units::MaxFailed};
use prover::{
    cluster::PodsMetric,
    prove::{
        AssertionVerdict, Deadlines, Decision, EventMark, Expected, HpaSample, LoadSample, Marks,
        MetricSample, NodesSample, Phase, PodTrace, Recording, Sample, ScaleConfig, ScaleReport, ScaleRun,
        ScalingMetric, Shares, TimeRange, Timeline, Trace,
    },
};

use crate::{
    recorded_load::{BEGAN_AT, load, summary},
    schema,
};

pub(crate) const RATE: f64 = 392.0;
const TAIL: f64 = 20.0;

/// When all replicas were ready, in seconds since the load began.
const READY: i32 = 21;
/// When the plateau and the step ended.
const STEP_END: i32 = 81;
/// When the HPA was back at its minimum.
const BACK: i32 = 128;

pub(crate) fn expected() -> Expected {
    Expected {
        hpa: "app-a".to_owned(),
        deployment: "app-a".to_owned(),
        metric: ScalingMetric::Pods(PodsMetric {
            name: "http_requests_per_second".to_owned(),
            target_per_pod: 50.0,
            selector: None,
        }),
        min: 2,
        max: 12,
        rate: RATE,
        replicas: 8,
        scale_up_tolerance: 0.1,
        scale_down_stabilisation: Duration::from_secs(30),
    }
}

pub(crate) fn recording() -> Recording {
    let deadlines = Deadlines {
        settle: 150.0,
        scale_up: 120.0,
        plateau: 60.0,
        scale_down: 150.0,
    };
    let mut timeline = Timeline::new(vec![expected()], deadlines);
    timeline.marks = Marks {
        settled: Some(-0.5),
        plateau_began: Some(READY.into()),
        plateau_ended: Some(STEP_END.into()),
        load_ended: Some(STEP_END.into()),
        back: Some(BACK.into()),
    };
    timeline.samples = (-3..=BACK + 3).map(sample).collect();
    let event = |at, regarding: &str, reason: &str, note: &str, warning| EventMark {
        at,
        regarding: regarding.to_owned(),
        reporter: "fake".to_owned(),
        reason: reason.to_owned(),
        note: note.to_owned(),
        warning,
    };
    let rescale = "HorizontalPodAutoscaler/app-a";
    timeline.events = vec![
        event(
            9.2,
            rescale,
            "SuccessfulRescale",
            "New size: 4; reason: pods metric http_requests_per_second above target",
            false,
        ),
        event(
            9.4,
            "ReplicaSet/app-a-5d8f7",
            "SuccessfulCreate",
            "Created pod: app-a-5d8f7-2",
            false,
        ),
        event(
            11.0,
            "Pod/app-a-5d8f7-3",
            "Unhealthy",
            "Readiness probe failed: <connection refused>",
            true,
        ),
        event(
            18.8,
            rescale,
            "SuccessfulRescale",
            "New size: 8; reason: pods metric http_requests_per_second above target",
            false,
        ),
        event(
            125.5,
            rescale,
            "SuccessfulRescale",
            "New size: 2; reason: All metrics below target",
            false,
        ),
    ];
    Recording {
        timeline,
        step: Some(load(RATE, f64::from(STEP_END))),
        tail: Some(load(TAIL, f64::from(BACK - STEP_END))),
        traces: BTreeMap::from([("app-a".to_owned(), trace())]),
        shares: Shares::default(),
        began_at: Some(BEGAN_AT),
        start_wait: Duration::ZERO,
        interrupted: false,
    }
}

/// Two new pods are ready after 11 s, and four more after 21 s.
fn trace() -> Trace {
    let range = |latest: f64| TimeRange {
        earliest: latest - 0.25,
        latest,
    };
    let seen = |latest: f64| Some(range(latest));
    let decision = |replicas, latest: f64| Decision {
        replicas,
        time: range(latest),
    };
    let pod = |number: i32| {
        let decided = if number < 4 { 9.25 } else { 18.75 };
        let pod = PodTrace {
            created: seen(decided + 0.1),
            scheduled: seen(decided + 0.1),
            started: seen(decided + 1.0),
            ready: seen(decided + 2.0),
            served: None,
            metrics_read: false,
        };
        (format!("app-a-5d8f7-{number}"), pod)
    };
    Trace {
        counted: seen(0.25),
        scraped: seen(3.5),
        metric: [(0.0, 0.0, 0.0), (3.5, 3.75, 25.0)]
            .map(|(earliest, latest, sum)| MetricSample {
                time: TimeRange { earliest, latest },
                sum,
            })
            .into(),
        enough: seen(6.0),
        decisions: vec![decision(4, 9.25), decision(8, 18.75)],
        pods: (2..8).map(pod).collect(),
        problems: BTreeMap::new(),
    }
}

fn sample(at: i32) -> Sample {
    let phase = match at {
        ..0 => Phase::Settling,
        0..READY => Phase::ScalingUp,
        READY..STEP_END => Phase::Plateau,
        STEP_END..=BACK => Phase::ScalingDown,
        _ => Phase::Closing,
    };
    let (desired, ready) = match at {
        ..9 => (2, 2),
        9..11 => (4, 2),
        11..18 => (4, 4),
        18..READY => (8, 4),
        READY..125 => (8, 8),
        _ => (2, 2),
    };
    let window = |since: i32| f64::from(since.clamp(0, 15)) / 15.0;
    let noise = 1.0 + 0.02 * f64::from(at).sin();
    let metric = if at < STEP_END {
        RATE * window(at) * noise
    } else {
        RATE + (TAIL - RATE) * window(at - STEP_END)
    };
    let pods = if (125..127).contains(&at) {
        8
    } else {
        usize::try_from(desired).unwrap()
    };
    let hpa = HpaSample {
        desired,
        wanted: desired,
        ready,
        pods,
        metric_sum: Some(if phase == Phase::Closing { 0.0 } else { metric }),
        metric_pods: Some(8),
        limited: Some(at < 9),
        limited_reason: "TooFewReplicas".to_owned(),
    };
    let (rate, since) = if at < STEP_END {
        (RATE, at)
    } else {
        (TAIL, at - STEP_END)
    };
    let slow = if at < READY { 3.0 } else { 1.0 };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small and positive"
    )]
    let load = LoadSample {
        wanted: rate,
        achieved: rate,
        sent: (rate * f64::from(since.max(0))) as u64,
        failed: 0,
        in_flight: 1,
        latency_ms: summary(0.8 * slow * noise),
    };
    let loaded = !matches!(phase, Phase::Settling | Phase::Closing);
    Sample {
        at: at.into(),
        phase,
        load: loaded.then_some(load),
        hpas: BTreeMap::from([("app-a".to_owned(), hpa)]),
        nodes: Some(NodesSample {
            total: 3,
            ready: 3,
            zones: 2,
        }),
        problem: None,
    }
}

/// Makes one request of the load fail.
pub(crate) fn fail_one_request(load: &mut LoadReport) {
    load.requests.succeeded -= 1;
    load.requests.failed += 1;
    load.failures.insert(FailureKind::Reset, 1);
    load.failure_examples.insert(
        FailureKind::Reset,
        "connection closed before message completed".to_owned(),
    );
}

/// Judges a recording, as the command does.
pub(crate) fn judge(recording: Recording) -> ScaleReport {
    report(vec![recording])
}

/// Judges several recordings, as the command does.
pub(crate) fn report(recordings: Vec<Recording>) -> ScaleReport {
    report_with_thresholds(&[], recordings)
}

/// Judges several recordings with thresholds, and validates the report against its JSON Schema.
pub(crate) fn report_with_thresholds(thresholds: &[Threshold], recordings: Vec<Recording>) -> ScaleReport {
    let config = ScaleConfig {
        namespace: "sample-app".to_owned(),
        context: None,
        targets: vec!["GET http://127.0.0.1:30080/hello".to_owned()],
        rate: RATE,
        tail_rate: TAIL,
        arrivals: Spacing::Even,
        seed: 1,
    };
    let bounds = Bounds {
        max_lag: Duration::from_millis(20),
        max_failed: MaxFailed::Count(0),
    };
    let run = |recording| ScaleRun::of(Vec::new(), recording, bounds, thresholds);
    let report = ScaleReport::of(config, recordings.into_iter().map(run).collect());
    schema::report(&serde_json::to_vec(&report).unwrap());
    report
}

/// Changes the HPA in every sample of a phase.
pub(crate) fn change_phase(recording: &mut Recording, phase: Phase, change: impl Fn(&mut HpaSample)) {
    for sample in recording
        .timeline
        .samples
        .iter_mut()
        .filter(|sample| sample.phase == phase)
    {
        sample.hpas.values_mut().for_each(&change);
    }
}

/// Returns the HPA in the first sample at or after `second`.
pub(crate) fn hpa_at(recording: &mut Recording, second: i32) -> &mut HpaSample {
    let sample = recording
        .timeline
        .samples
        .iter_mut()
        .find(|sample| sample.at >= f64::from(second))
        .unwrap();
    sample.hpas.get_mut("app-a").unwrap()
}

/// Describes every assertion of every run, one line each.
pub(crate) fn describe_assertions(report: &ScaleReport) -> String {
    let assertions = report.runs.iter().flat_map(|run| &run.assertions);
    let lines = assertions.map(|assertion| {
        let hpa = assertion.hpa.as_deref().unwrap_or_default();
        format!(
            "{:?} {} {hpa}: {}: {}\n",
            assertion.verdict, assertion.name, assertion.expected, assertion.observed
        )
    });
    lines.collect()
}

/// Asserts that a report fails exactly these assertions, and that the first observation contains `says`.
pub(crate) fn assert_failed_only(report: &ScaleReport, names: &[&str], says: &str) {
    let failed: Vec<_> = report.runs[0]
        .assertions
        .iter()
        .filter(|assertion| assertion.verdict == AssertionVerdict::Failed)
        .collect();
    let found: Vec<_> = failed.iter().map(|assertion| assertion.name).collect();
    assert_eq!(found, names, "{}", describe_assertions(report));
    let observed = &failed[0].observed;
    assert!(observed.contains(says), "{says:?} is missing: {observed}");
}
