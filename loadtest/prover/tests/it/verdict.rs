//! A run that went well passes; each thing that can go wrong fails its own assertion, and says what was seen.

use prover::prove::{Marks, Phase, Recording, ScaleReport, ScaleVerdict, AssertionVerdict};

use crate::recording::{at, described, each, fail_one, judge, recording, report_against};

fn judged(change: impl FnOnce(&mut Recording)) -> ScaleReport {
    let mut recording = recording();
    change(&mut recording);
    judge(recording)
}

/// The one assertion that fails, and the text of what was seen.
fn assert_fails(name: &str, says: &str, change: impl FnOnce(&mut Recording)) -> ScaleReport {
    let report = judged(change);
    let failed: Vec<_> = report.runs[0]
        .assertions
        .iter()
        .filter(|one| one.verdict == AssertionVerdict::Failed)
        .collect();
    let names: Vec<_> = failed.iter().map(|one| one.name).collect();
    assert_eq!(names, [name], "{}", described(&report));
    assert!(
        failed[0].observed.contains(says),
        "does not say {says:?}: {}",
        failed[0].observed
    );
    report
}

#[test]
fn two_to_eight_to_two_passes() {
    let report = judged(|_| {});
    assert_eq!(report.verdict, ScaleVerdict::Passed, "{}", described(&report));
    assert!(
        report.runs[0]
            .assertions
            .iter()
            .all(|one| one.verdict == AssertionVerdict::Passed),
        "{}",
        described(&report)
    );
    let names: Vec<_> = report.runs[0].assertions.iter().map(|one| one.name).collect();
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
    assert_eq!(names, expected, "these names are an interface");
}

#[test]
fn overshoot_fails_even_if_only_wanted_and_only_for_a_second() {
    let report = assert_fails("never-more", "9 after 19 s", |run| at(run, 19).desired = 9);
    assert_eq!(report.verdict, ScaleVerdict::Failed);
    assert_fails("never-more", "9 after 90 s", |run| at(run, 90).ready = 9);
}

#[test]
fn stuck_below_fails() {
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
    let standing = |name: &str| {
        report.runs[0]
            .assertions
            .iter()
            .find(|one| one.name == name)
            .unwrap()
    };
    assert_eq!(
        (
            standing("scaled-up").verdict,
            standing("scaled-up").observed.as_str()
        ),
        (AssertionVerdict::Failed, "never: 7 ready at the most")
    );
    for name in ["stayed", "not-limited", "metric-matches"] {
        assert_eq!(standing(name).verdict, AssertionVerdict::NotReached, "{name}");
    }
    assert_eq!(report.verdict, ScaleVerdict::Failed);
}

#[test]
fn ready_too_late_fails() {
    assert_fails("scaled-up", "8 ready after 21 s", |run| {
        run.timeline.deadlines.scale_up = 20.0;
    });
}

#[test]
fn a_pod_lost_on_the_plateau_fails() {
    assert_fails("stayed", "7 ready, 8 wanted after 50 s", |run| {
        at(run, 50).ready = 7;
    });
}

#[test]
fn a_bound_that_decides_in_place_of_the_metric_fails() {
    assert_fails("not-limited", "True after 60 s: TooManyReplicas", |run| {
        let hpa = at(run, 60);
        (hpa.limited, hpa.limited_reason) = (Some(true), "TooManyReplicas".to_owned());
    });
}

#[test]
fn a_metric_that_is_off_fails_in_both_directions() {
    let off = |factor: f64| {
        move |run: &mut Recording| {
            each(run, Phase::Plateau, |hpa| {
                hpa.metric_sum = hpa.metric_sum.map(|sum| sum * factor);
            });
        }
    };
    assert_fails("metric-matches", "sent 392 (+15", off(1.15));
    assert_fails("metric-matches", "sent 392 (-1", off(0.85));
    assert_eq!(judged(off(1.05)).verdict, ScaleVerdict::Passed);
    let without_value = |moments: std::ops::Range<i32>| {
        move |run: &mut Recording| {
            for moment in moments.clone() {
                at(run, moment).metric_sum = None;
            }
        }
    };
    assert_eq!(
        judged(without_value(70..72)).verdict,
        ScaleVerdict::Passed,
        "two looks that came to nothing"
    );
    assert_fails("metric-matches", "have no value", without_value(66..70));
}

#[test]
fn one_failed_request_fails_and_says_where() {
    let report = assert_fails(
        "step-requests",
        "1 failed, 0 dropped, 0 retried: 1 reset (connection closed",
        |run| fail_one(run.step.as_mut().unwrap()),
    );
    assert_eq!(report.verdict, ScaleVerdict::RequestsFailed);
    assert_fails("tail-requests", "1 reset", |run| {
        fail_one(run.tail.as_mut().unwrap());
    });
}

#[test]
fn a_threshold_that_the_step_does_not_reach_fails_and_says_what_it_reached() {
    let thresholds = ["failed<1", "rate>400"].map(|text| text.parse().unwrap());
    let report = report_against(&thresholds, vec![recording()]);
    let seen: Vec<_> = report.runs[0]
        .assertions
        .iter()
        .filter(|one| one.name == "threshold")
        .map(|one| (one.expected.as_str(), one.verdict, one.observed.as_str()))
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
fn never_back_at_the_minimum_fails() {
    assert_fails("scaled-down", "still 8 ready, 8 wanted", |run| {
        for phase in [Phase::ScalingDown, Phase::Closing] {
            each(run, phase, |hpa| {
                (hpa.desired, hpa.wanted, hpa.ready, hpa.pods) = (8, 8, 8, 8);
            });
        }
        run.timeline.marks.back = None;
    });
    assert_fails("scaled-down", "back at 2 after 44 s", |run| {
        run.timeline.deadlines.scale_down = 40.0;
    });
    assert_fails("scaled-down", "3 ready, 3 wanted", |run| {
        each(run, Phase::Closing, |hpa| (hpa.desired, hpa.ready) = (3, 3));
    });
}

#[test]
fn a_cluster_that_went_away_is_not_taken_for_one_that_stayed() {
    let report = assert_fails(
        "watched",
        "not for 13 s, from 49 s on: app-a: connection refused",
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
fn a_generator_that_lags_makes_the_run_invalid() {
    let report = assert_fails("step-valid", "lag", |run| {
        run.step.as_mut().unwrap().lag_ms.p99 = Some(300.0);
    });
    assert_eq!(report.verdict, ScaleVerdict::Invalid);
}

#[test]
fn a_cluster_that_never_settles_sends_no_load() {
    let report = judged(|run| {
        run.timeline.marks = Marks::default();
        run.timeline
            .samples
            .retain(|sample| sample.phase == Phase::Settling);
        each(run, Phase::Settling, |hpa| hpa.metric_sum = Some(37.0));
        (run.step, run.tail) = (None, None);
    });
    let settled = report.runs[0]
        .assertions
        .iter()
        .find(|one| one.name == "settled")
        .unwrap();
    assert_eq!(settled.verdict, AssertionVerdict::Failed);
    assert!(settled.observed.contains("metric 37"), "{}", settled.observed);
    assert_eq!(report.verdict, ScaleVerdict::Failed);
}

#[test]
fn an_interrupted_run_says_so_and_keeps_what_it_has() {
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
            .any(|one| one.name == "scaled-up" && one.verdict == AssertionVerdict::Passed)
    );
    assert!(report.runs[0].step.is_some());
}
