//! A successful run passes. Each fault fails its own assertion, which reports the observation.

use prover::prove::{AssertionVerdict, Marks, Phase, Recording, ScaleReport, ScaleVerdict};

use crate::recording::{
    assert_failed_only, change_phase, describe_assertions, fail_one_request, hpa_at, judge, recording,
    report, report_with_thresholds,
};

fn judged(change: impl FnOnce(&mut Recording)) -> ScaleReport {
    let mut recording = recording();
    change(&mut recording);
    judge(recording)
}

/// Asserts that a change of the recording fails exactly one assertion, whose observation contains `says`.
fn assert_fails(name: &str, says: &str, change: impl FnOnce(&mut Recording)) -> ScaleReport {
    let report = judged(change);
    assert_failed_only(&report, &[name], says);
    report
}

#[test]
fn a_successful_run_passes() {
    let report = judged(|_| {});
    assert_eq!(
        report.verdict,
        ScaleVerdict::Passed,
        "{}",
        describe_assertions(&report)
    );
    assert!(
        report.runs[0]
            .assertions
            .iter()
            .all(|assertion| assertion.verdict == AssertionVerdict::Passed),
        "{}",
        describe_assertions(&report)
    );
    let names: Vec<_> = report.runs[0]
        .assertions
        .iter()
        .map(|assertion| assertion.name)
        .collect();
    let expected = [
        "settled",
        "scaled-up",
        "never-more",
        "stayed",
        "not-limited",
        "metric-matches",
        "scaled-down",
        "watched",
        "step-requests",
        "step-valid",
        "tail-requests",
        "tail-valid",
    ];
    assert_eq!(names, expected, "the names are a stable interface");
}

#[test]
fn an_overshoot_fails_even_if_it_is_only_wanted_for_one_second() {
    let report = assert_fails("never-more", "9 after 19 s", |run| hpa_at(run, 19).desired = 9);
    assert_eq!(report.verdict, ScaleVerdict::Failed);
    assert_fails("never-more", "9 after 90 s", |run| hpa_at(run, 90).ready = 9);
}

#[test]
fn too_few_ready_replicas_fail() {
    let report = judged(|run| {
        run.timeline
            .samples
            .iter_mut()
            .filter(|sample| sample.phase == Phase::Plateau)
            .for_each(|sample| {
                sample.phase = Phase::ScalingUp;
                sample
                    .hpas
                    .values_mut()
                    .for_each(|hpa| (hpa.desired, hpa.wanted, hpa.ready) = (7, 7, 7));
            });
        (run.timeline.marks.plateau_began, run.timeline.marks.plateau_ended) = (None, None);
    });
    let assertion = |name: &str| {
        report.runs[0]
            .assertions
            .iter()
            .find(|assertion| assertion.name == name)
            .unwrap()
    };
    assert_eq!(
        (
            assertion("scaled-up").verdict,
            assertion("scaled-up").observed.as_str()
        ),
        (AssertionVerdict::Failed, "never: at most 7 ready")
    );
    for name in ["stayed", "not-limited", "metric-matches"] {
        assert_eq!(assertion(name).verdict, AssertionVerdict::NotReached, "{name}");
    }
    assert_eq!(report.verdict, ScaleVerdict::Failed);
}

#[test]
fn replicas_that_are_ready_too_late_fail() {
    assert_fails("scaled-up", "8 ready after 21 s", |run| {
        run.timeline.deadlines.scale_up = 20.0;
    });
}

#[test]
fn a_lost_pod_on_the_plateau_fails() {
    assert_fails("stayed", "7 ready, 8 wanted after 50 s", |run| {
        hpa_at(run, 50).ready = 7;
    });
}

#[test]
fn a_bound_that_decides_instead_of_the_metric_fails() {
    assert_fails("not-limited", "True after 60 s: TooManyReplicas", |run| {
        let hpa = hpa_at(run, 60);
        (hpa.limited, hpa.limited_reason) = (Some(true), "TooManyReplicas".to_owned());
    });
}

#[test]
fn a_wrong_metric_fails_in_both_directions() {
    let scaled = |factor: f64| {
        move |run: &mut Recording| {
            change_phase(run, Phase::Plateau, |hpa| {
                hpa.metric_sum = hpa.metric_sum.map(|sum| sum * factor);
            });
        }
    };
    assert_fails("metric-matches", "sent 392 (+15", scaled(1.15));
    assert_fails("metric-matches", "sent 392 (-1", scaled(0.85));
    assert_eq!(judged(scaled(1.05)).verdict, ScaleVerdict::Passed);
    let without_value = |seconds: std::ops::Range<i32>| {
        move |run: &mut Recording| {
            for second in seconds.clone() {
                hpa_at(run, second).metric_sum = None;
            }
        }
    };
    assert_eq!(
        judged(without_value(70..72)).verdict,
        ScaleVerdict::Passed,
        "two samples without a value are allowed"
    );
    assert_fails("metric-matches", "have no value", without_value(66..70));
}

#[test]
fn one_failed_request_fails_with_an_example() {
    let report = assert_fails(
        "step-requests",
        "1 failed, 0 dropped, 0 retried: 1 reset (connection closed",
        |run| fail_one_request(run.step.as_mut().unwrap()),
    );
    assert_eq!(report.verdict, ScaleVerdict::RequestsFailed);
    assert_fails("tail-requests", "1 reset", |run| {
        fail_one_request(run.tail.as_mut().unwrap());
    });
}

#[test]
fn a_broken_threshold_fails_and_reports_the_value() {
    let thresholds = ["failed<1", "rate>400"].map(|text| text.parse().unwrap());
    let report = report_with_thresholds(&thresholds, vec![recording()]);
    let seen: Vec<_> = report.runs[0]
        .assertions
        .iter()
        .filter(|assertion| assertion.name == "threshold")
        .map(|assertion| {
            (
                assertion.expected.as_str(),
                assertion.verdict,
                assertion.observed.as_str(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("failed<1", AssertionVerdict::Passed, "0"),
            ("rate>400", AssertionVerdict::Failed, "392 requests/s")
        ]
    );
    assert_eq!(report.verdict, ScaleVerdict::ThresholdBroken);
}

#[test]
fn an_hpa_that_is_late_or_not_back_at_the_minimum_fails() {
    assert_fails("scaled-down", "still 8 ready, 8 wanted", |run| {
        for phase in [Phase::ScalingDown, Phase::Closing] {
            change_phase(run, phase, |hpa| {
                (hpa.desired, hpa.wanted, hpa.ready, hpa.pods) = (8, 8, 8, 8);
            });
        }
        run.timeline.marks.back = None;
    });
    assert_fails("scaled-down", "back at 2 after 46 s", |run| {
        run.timeline.deadlines.scale_down = 40.0;
    });
    assert_fails("scaled-down", "3 ready, 3 wanted", |run| {
        change_phase(run, Phase::Closing, |hpa| (hpa.desired, hpa.ready) = (3, 3));
    });
    assert_fails("scaled-down", "2 ready, 2 wanted, 3 pods at the end", |run| {
        change_phase(run, Phase::Closing, |hpa| hpa.pods = 3);
    });
    assert_fails("scaled-down", "still 2 ready, 2 wanted, 3 pods", |run| {
        for phase in [Phase::ScalingDown, Phase::Closing] {
            change_phase(run, phase, |hpa| hpa.pods = hpa.pods.max(3));
        }
    });
}

#[test]
fn a_gap_in_the_reads_of_the_cluster_fails() {
    let report = assert_fails(
        "watched",
        "no read for 13 s, from 49 s on: app-a: connection refused",
        |run| {
            for sample in run
                .timeline
                .samples
                .iter_mut()
                .filter(|sample| (50.0..62.0).contains(&sample.at))
            {
                sample.hpas.clear();
                sample.problem = Some("app-a: connection refused".to_owned());
            }
        },
    );
    assert_eq!(report.verdict, ScaleVerdict::Failed);
}

#[test]
fn a_lagging_generator_makes_the_run_invalid() {
    let report = assert_fails("step-valid", "lag", |run| {
        run.step.as_mut().unwrap().lag_ms.p99 = Some(300.0);
    });
    assert_eq!(report.verdict, ScaleVerdict::Invalid);
}

#[test]
fn a_cluster_that_never_settles_fails_without_load() {
    let report = judged(|run| {
        run.timeline.marks = Marks::default();
        run.timeline
            .samples
            .retain(|sample| sample.phase == Phase::Settling);
        change_phase(run, Phase::Settling, |hpa| hpa.metric_sum = Some(37.0));
        (run.step, run.tail) = (None, None);
    });
    let settled = report.runs[0]
        .assertions
        .iter()
        .find(|assertion| assertion.name == "settled")
        .unwrap();
    assert_eq!(settled.verdict, AssertionVerdict::Failed);
    assert!(settled.observed.contains("metric 37"), "{}", settled.observed);
    assert_eq!(report.verdict, ScaleVerdict::Failed);
}

#[test]
fn an_interrupted_run_keeps_its_measurements() {
    let report = judged(|run| {
        run.interrupted = true;
        run.timeline.samples.retain(|sample| sample.at < 40.0);
        run.timeline.marks = Marks {
            plateau_began: Some(21.0),
            settled: Some(-0.5),
            ..Default::default()
        };
        run.tail = None;
    });
    assert_eq!(report.verdict, ScaleVerdict::Interrupted);
    assert!(
        report.runs[0]
            .assertions
            .iter()
            .any(|assertion| assertion.name == "scaled-up" && assertion.verdict == AssertionVerdict::Passed)
    );
    assert!(report.runs[0].step.is_some());
}

/// A verdict, and a change of the recording that leads to it.
type Broken = (ScaleVerdict, fn(&mut Recording));

/// Returns the verdicts from the best to the worst.
fn all_verdicts() -> [Broken; 5] {
    [
        (ScaleVerdict::Passed, |_| ()),
        (ScaleVerdict::Interrupted, |run| run.interrupted = true),
        (ScaleVerdict::Invalid, |run| {
            run.step.as_mut().unwrap().lag_ms.p99 = Some(300.0);
        }),
        (ScaleVerdict::RequestsFailed, |run| {
            fail_one_request(run.step.as_mut().unwrap());
        }),
        (ScaleVerdict::Failed, |run| hpa_at(run, 50).ready = 7),
    ]
}

#[test]
fn the_verdict_on_several_runs_is_the_worst_in_any_order() {
    let verdicts = all_verdicts();
    for (worse, (worst, break_worst)) in verdicts.iter().enumerate() {
        for (better, break_better) in &verdicts[..=worse] {
            let runs = || {
                [break_worst, break_better].map(|change| {
                    let mut recording = recording();
                    change(&mut recording);
                    recording
                })
            };
            let reversed = runs().into_iter().rev().collect();
            for report in [report(runs().into()), report(reversed)] {
                assert_eq!(report.verdict, *worst, "{worst:?} and {better:?}");
            }
        }
    }
}
