//! The proof of an HPA on an external metric: whole runs against a fake cluster, and recorded runs.

use engine::Interrupt;
use prover::{
    cluster::{ExternalMetric, ExternalTarget},
    prove::{
        Phase, Progress, Recording, ScaleReport, ScaleRun, ScaleVerdict, ScalingMetric, Stage, drive, predict,
    },
};

use crate::{
    cluster_state::ClusterState,
    recording::{self, assert_failed_only, change_phase, describe_assertions, hpa_at, recording},
    scaling_cluster::{self, ScalingCluster, follow},
};

/// Runs a step against an HPA on an external metric, whose value follows from the state. The pods have no custom metric.
async fn run(metric_type: &'static str, value: fn(&ClusterState) -> f64, prometheus: bool) -> ScaleReport {
    let cluster = ScalingCluster::start(move |state, rate| {
        follow(state, rate);
        state.external = Some(value(state));
    })
    .await;
    cluster.fake.change(|state| {
        (state.metric_type, state.prometheus) = (metric_type, prometheus);
        state.offered.clear();
    });
    let hpa = cluster.fake.cluster.hpa("sample-app", "app-a").await.unwrap();
    let mut setup = cluster.setup();
    setup.expected = vec![predict(&hpa.unwrap(), 280.0).unwrap()];
    assert_eq!(setup.expected[0].replicas, 6);
    let mut interrupt = Interrupt::never();
    let mut ignore = |_: Progress<'_>| ();
    let recording = drive(&cluster.fake.cluster, &setup, &mut interrupt, &mut ignore).await;
    scaling_cluster::judge(recording.unwrap())
}

/// Asserts that a run passed, that `metric-matches` says `meaning`, and that the stages have a time up to `enough`.
fn assert_passed<'a>(report: &'a ScaleReport, meaning: &str, stages: &[Stage]) -> &'a ScaleRun {
    let text = describe_assertions(report);
    assert_eq!(report.verdict, ScaleVerdict::Passed, "{text}");
    let not_checked = "; not checked: single pods, for which an external metric has no values";
    for part in [meaning, not_checked] {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
    let run = &report.runs[0];
    let samples = run.timeline.samples.iter();
    let pods: Vec<_> = samples.map(|sample| sample.hpas["app-a"].metric_pods).collect();
    assert!(pods.iter().all(Option::is_none), "{pods:?}");
    let path = run.time_to_scale[0].last().unwrap();
    for stage in stages {
        assert!(path.reached(*stage).is_some(), "{stage:?}: {path:?}");
    }
    run
}

#[tokio::test]
async fn an_external_metric_with_an_average_value_is_a_total_and_needs_no_prometheus() {
    let report = run("External", |state| state.metric_sum, false).await;
    let meaning = "the external metric, a total of all pods, is within 10 %";
    let run = assert_passed(&report, meaning, &[Stage::Visible, Stage::Enough, Stage::Decided]);
    let problems = &run.time_to_scale[0].problems;
    assert!(problems.contains_key("Prometheus"), "{problems:?}");
}

#[tokio::test]
async fn an_external_metric_with_a_value_is_multiplied_by_the_ready_pods() {
    #[expect(clippy::cast_precision_loss, reason = "a few pods")]
    let average = |state: &ClusterState| state.metric_sum / state.pods as f64;
    let report = run("External Value", average, true).await;
    let meaning = "an average per pod, times the ready pods is within 10 %";
    let stages = [Stage::Counted, Stage::Scraped, Stage::Visible, Stage::Enough];
    assert_passed(&report, meaning, &stages);
}

/// Judges the recording of a run whose HPA scales on an external metric.
fn recorded(target_type: ExternalTarget, change: impl FnOnce(&mut Recording)) -> ScaleReport {
    let mut recording = recording();
    recording.timeline.expected[0].metric = ScalingMetric::External(ExternalMetric {
        name: "s0-prometheus".to_owned(),
        selector: None,
        target: 50.0,
        target_type,
    });
    change(&mut recording);
    recording::judge(recording)
}

#[test]
fn a_wrong_external_metric_fails() {
    for target_type in [ExternalTarget::AverageValue, ExternalTarget::Value] {
        let report = recorded(target_type, |run| {
            change_phase(run, Phase::Plateau, |hpa| {
                hpa.metric_sum = hpa.metric_sum.map(|sum| sum * 1.15);
            });
        });
        assert_failed_only(&report, &["metric-matches"], "sent 392 (+15");
    }
}

#[test]
fn too_many_pods_with_a_target_of_type_value_fail_with_the_likely_cause() {
    let too_many = |run: &mut Recording| hpa_at(run, 30).wanted = 12;
    let report = recorded(ExternalTarget::Value, too_many);
    assert_failed_only(
        &report,
        &["never-more"],
        "must be an average per pod, not a total",
    );
    let report = recorded(ExternalTarget::AverageValue, too_many);
    assert_failed_only(&report, &["never-more"], "12 after 30 s");
    let text = describe_assertions(&report);
    assert!(!text.contains("average per pod"), "{text}");
}
