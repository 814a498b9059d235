//! Breaks each link of the chain: the diagnosis names the broken link, and where to look.

use std::time::Duration;

use prover::chain::{ChainOptions, wait_until_healthy};
use wiring::{
    Link,
    diagnosis::{Diagnosis, LinkState},
};

use crate::{cluster_state::ClusterState, fake_cluster::FakeCluster};

fn options() -> ChainOptions {
    ChainOptions {
        namespace: "sample-app".to_owned(),
        hpa: "app-a".to_owned(),
        prometheus: "monitoring/prometheus:9090".parse().unwrap(),
        series: "http_requests_total".to_owned(),
    }
}

/// Diagnoses the chain of a fake cluster with this change.
pub(crate) async fn diagnose(change: impl FnOnce(&mut ClusterState)) -> Diagnosis {
    wait_until_healthy(
        &FakeCluster::with(change).cluster,
        &options(),
        Duration::ZERO,
        |_| (),
    )
    .await
}

/// Asserts that this link is the first broken one, and that its detail contains `says`.
pub(crate) async fn assert_broken(link: Link, says: &str, change: impl FnOnce(&mut ClusterState)) {
    let diagnosis = diagnose(change).await;
    let cause = diagnosis
        .root_cause()
        .unwrap_or_else(|| panic!("{link} is broken, but the diagnosis finds nothing: {diagnosis:#?}"));
    assert_eq!(cause.link, link, "{diagnosis:#?}");
    assert!(
        cause.detail.contains(says),
        "does not say {says:?}: {}",
        cause.detail
    );
    assert!(cause.look_at.is_some());
}

#[tokio::test]
async fn every_link_of_a_healthy_chain_works() {
    let diagnosis = diagnose(|_| {}).await;
    assert!(diagnosis.is_healthy(), "{diagnosis:#?}");
    let names: Vec<String> = diagnosis.links.iter().map(|link| link.link.to_string()).collect();
    let expected = [
        "hpa",
        "pods",
        "prometheus-scrape",
        "service-metric",
        "apiservice",
        "adapter-rule",
        "pod-samples",
        "hpa-active",
    ];
    assert_eq!(names, expected, "the names are a stable interface");
    assert_eq!(
        serde_json::to_value(diagnosis.links[2].link).unwrap(),
        "prometheus-scrape"
    );
}

#[tokio::test]
async fn a_missing_hpa_or_an_hpa_without_a_pods_metric() {
    assert_broken(Link::Hpa, "no HPA app-a", |state| state.hpa_exists = false).await;
    assert_broken(Link::Hpa, "only metrics of type: Resource", |state| {
        state.metric_type = "Resource";
    })
    .await;
}

#[tokio::test]
async fn an_unready_pod() {
    let crash = |state: &mut ClusterState| {
        (state.unready, state.active) = (1, false);
    };
    assert_broken(
        Link::Pods,
        "1 of 2 pods of Deployment/app-a are ready: app-a-5d8f7-1 (CrashLoopBackOff)",
        crash,
    )
    .await;
}

#[tokio::test]
async fn a_pod_that_prometheus_does_not_scrape() {
    // Without scrapes, the adapter has no metric and no value, but the scrape is the root cause.
    let unscraped = |state: &mut ClusterState| {
        (state.targets, state.sampled, state.active) = (0, Some(0), false);
        state.offered.clear();
    };
    assert_broken(
        Link::PrometheusScrape,
        "not scraping any pod of sample-app",
        unscraped,
    )
    .await;
    assert_broken(
        Link::PrometheusScrape,
        "pod app-a-5d8f7-1 is not a target",
        |state| state.targets = 1,
    )
    .await;
    assert_broken(
        Link::PrometheusScrape,
        "scrapes of pod app-a-5d8f7-1 fail",
        |state| state.failing_targets = 1,
    )
    .await;
    assert_broken(Link::PrometheusScrape, "was scraped 90 s ago", |state| {
        state.scrape_age = 90.0;
    })
    .await;
    assert_broken(Link::PrometheusScrape, "no endpoints available", |state| {
        state.prometheus = false;
    })
    .await;
}

#[tokio::test]
async fn a_service_that_exports_another_metric_name() {
    let renamed = |state: &mut ClusterState| {
        (state.exported, state.sampled, state.active) = ("http_server_requests_total", Some(0), false);
        state.offered.clear();
    };
    assert_broken(
        Link::ServiceMetric,
        "do not export http_requests_total; they export http_server_requests_total, build_info",
        renamed,
    )
    .await;
}

#[tokio::test]
async fn an_unavailable_api_service() {
    let untrusted = |state: &mut ClusterState| {
        let message = "failing or missing response from https://198.19.0.9:6443/apis/custom.metrics.k8s.io/v1beta1: \
                       tls: failed to verify certificate: x509: certificate signed by unknown authority";
        (state.unavailable, state.active) = (Some(("FailedDiscoveryCheck", message)), false);
    };
    assert_broken(
        Link::Apiservice,
        "wrong CA bundle: not available: FailedDiscoveryCheck",
        untrusted,
    )
    .await;
    assert_broken(Link::Apiservice, "no adapter is installed", |state| {
        state.registered = false;
    })
    .await;
    assert_broken(Link::Apiservice, "no caBundle", |state| {
        state.ca_bundle = None;
    })
    .await;
    let gone = |state: &mut ClusterState| {
        state.unavailable = Some((
            "MissingEndpoints",
            "endpoints for service/prometheus-adapter have no addresses",
        ));
    };
    assert_broken(Link::Apiservice, "MissingEndpoints", gone).await;
}

#[tokio::test]
async fn an_unverified_certificate_is_a_warning() {
    let diagnosis = diagnose(|state| {
        (state.insecure, state.ca_bundle) = (true, None);
    })
    .await;
    assert!(diagnosis.is_healthy(), "{diagnosis:#?}");
    let link = &diagnosis.links[4];
    assert_eq!((link.link, link.state), (Link::Apiservice, LinkState::Ok));
    assert!(
        link.warnings.len() == 1 && link.warnings[0].contains("insecureSkipTLSVerify"),
        "{link:#?}"
    );
    assert!(
        !link.detail.contains("verified TLS"),
        "nothing is verified: {}",
        link.detail
    );
}

#[tokio::test]
async fn an_adapter_rule_and_an_hpa_with_different_metric_names() {
    let renamed = |state: &mut ClusterState| {
        (state.offered, state.active) = (
            vec!["requests_per_second", "http_request_duration_seconds_average"],
            false,
        );
    };
    let says =
        "the HPA asks for http_requests_per_second, but the adapter offers requests_per_second, http_request";
    assert_broken(Link::AdapterRule, says, renamed).await;
    let hpa_renamed = |state: &mut ClusterState| {
        (state.hpa_metric, state.active) = ("requests_each_second", false);
    };
    let says = "the HPA asks for requests_each_second, but the adapter offers http_requests_per_second";
    assert_broken(Link::AdapterRule, says, hpa_renamed).await;
    assert_broken(Link::AdapterRule, "offers no pod metric", |state| {
        state.offered.clear();
    })
    .await;
}

#[tokio::test]
async fn a_pod_without_a_recent_value() {
    assert_broken(Link::PodSamples, "pod app-a-5d8f7-1 has no value", |state| {
        state.sampled = Some(1);
    })
    .await;
    assert_broken(Link::PodSamples, "is 90 s old", |state| {
        state.sample_age_seconds = 90;
    })
    .await;
}

#[tokio::test]
async fn an_inactive_hpa() {
    assert_broken(Link::HpaActive, "FailedGetPodsMetric", |state| {
        state.active = false;
    })
    .await;
}

#[tokio::test]
async fn an_api_server_that_fails() {
    let diagnosis = diagnose(|state| state.api_down = true).await;
    assert!(
        diagnosis
            .root_cause()
            .unwrap()
            .detail
            .contains("etcdserver: request timed out"),
        "{diagnosis:#?}"
    );
    assert_eq!(diagnosis.state(Link::Pods), Some(LinkState::Unknown));
}

#[tokio::test]
async fn wait_until_healthy_returns_when_the_chain_works() {
    let cluster = FakeCluster::with(|state| state.active = false);
    let waiting =
        async { wait_until_healthy(&cluster.cluster, &options(), Duration::from_secs(30), |_| ()).await };
    let repair = async {
        tokio::task::yield_now().await;
        cluster.change(|state| state.active = true);
    };
    let (diagnosis, ()) = tokio::join!(waiting, repair);
    assert!(diagnosis.is_healthy(), "{diagnosis:#?}");
}
