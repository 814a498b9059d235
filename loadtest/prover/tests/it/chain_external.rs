//! The chain of an HPA on an external metric.

use wiring::{Link, diagnosis::LinkState};

use crate::{
    chain::{assert_broken, diagnose},
    cluster_state::ClusterState,
};

/// An HPA on an external metric, in a cluster without Prometheus and without custom metrics.
fn external(state: &mut ClusterState) {
    (state.metric_type, state.prometheus, state.targets) = ("External", false, 0);
    state.offered.clear();
}

#[tokio::test]
async fn an_external_metric_needs_no_prometheus() {
    let diagnosis = diagnose(external).await;
    assert!(diagnosis.is_healthy(), "{diagnosis:#?}");
    for link in [Link::PrometheusScrape, Link::ServiceMetric] {
        assert_eq!(
            diagnosis.state(link),
            Some(LinkState::NotChecked),
            "{diagnosis:#?}"
        );
    }
    for (link, says) in [
        (
            Link::Hpa,
            "app-a scales Deployment/app-a on the external metric s0-queue, 50 per pod",
        ),
        (Link::AdapterRule, "serves s0-queue for scaledobject=app-a"),
        (
            Link::PodSamples,
            "s0-queue is 120; the target is 50 per pod; not checked: single pods",
        ),
    ] {
        let report = diagnosis.links.iter().find(|report| report.link == link).unwrap();
        assert!(report.detail.contains(says), "{report:#?}");
    }
}

#[tokio::test]
async fn a_workload_that_an_external_program_stopped_is_no_fault() {
    let stopped = |state: &mut ClusterState| {
        (state.pods, state.active, state.inactive_reason) = (0, false, "ScalingDisabled");
    };
    let diagnosis = diagnose(|state| {
        external(state);
        stopped(state);
    })
    .await;
    assert!(diagnosis.is_healthy(), "{diagnosis:#?}");
    // Nothing starts the pods of an HPA on a metric of these pods.
    assert_broken(Link::Pods, "0 of 0 pods", stopped).await;
}

#[tokio::test]
async fn the_faults_of_an_external_metric() {
    let assert_external = async |link, says, change: fn(&mut ClusterState)| {
        assert_broken(link, says, |state| {
            external(state);
            change(state);
        })
        .await;
    };
    assert_external(
        Link::Apiservice,
        "no APIService v1beta1.external.metrics.k8s.io",
        |state| state.registered = false,
    )
    .await;
    assert_external(Link::Apiservice, "MissingEndpoints", |state| {
        state.unavailable = Some(("MissingEndpoints", "no addresses"));
    })
    .await;
    assert_external(
        Link::AdapterRule,
        "s0-queue cannot be read for scaledobject=app-a: no metric of this name",
        |state| state.external = None,
    )
    .await;
    assert_external(Link::PodSamples, "the value of s0-queue is 140 s old", |state| {
        state.sample_age_seconds = 140;
    })
    .await;
    assert_external(Link::HpaActive, "fake message", |state| state.active = false).await;
    let negative = diagnose(|state| {
        external(state);
        state.external = Some(-1.0);
    })
    .await;
    assert!(negative.is_healthy(), "{negative:#?}");
    assert!(
        negative.links[6].warnings[0].contains("s0-queue is negative"),
        "{negative:#?}"
    );
}
