//! The chain broken at each link: the diagnosis names that one, and what to look at.

use std::time::Duration;

use prover::chain::{ChainOptions, Diagnosis, State as LinkState, wait_until_healthy};
use wiring::Link;

use crate::fake_cluster::{FakeCluster, State};

fn options() -> ChainOptions {
    ChainOptions {
        namespace: "sample-app".to_owned(),
        hpa: "app-a".to_owned(),
        prometheus: "monitoring/prometheus:9090".parse().unwrap(),
        series: "http_requests_total".to_owned(),
    }
}

async fn diagnose(change: impl FnOnce(&mut State)) -> Diagnosis {
    wait_until_healthy(
        &FakeCluster::with(change).cluster,
        &options(),
        Duration::ZERO,
        |_| (),
    )
    .await
}

async fn assert_broken(link: Link, says: &str, change: impl FnOnce(&mut State)) {
    let diagnosis = diagnose(change).await;
    let cause = diagnosis
        .root_cause()
        .unwrap_or_else(|| panic!("{link} is broken, and nothing is found: {diagnosis:#?}"));
    assert_eq!(cause.link, link, "{diagnosis:#?}");
    assert!(
        cause.detail.contains(says),
        "does not say {says:?}: {}",
        cause.detail
    );
    assert!(cause.look_at.is_some());
}

#[tokio::test]
async fn a_healthy_chain_is_whole() {
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
    assert_eq!(names, expected, "these names are an interface");
    assert_eq!(
        serde_json::to_value(diagnosis.links[2].link).unwrap(),
        "prometheus-scrape"
    );
}

#[tokio::test]
async fn no_hpa() {
    assert_broken(Link::Hpa, "no HPA app-a", |state| state.hpa_exists = false).await;
    assert_broken(Link::Hpa, "only on: Resource", |state| {
        state.metric_type = "Resource";
    })
    .await;
}

#[tokio::test]
async fn pods_that_are_not_ready() {
    let crash = |state: &mut State| {
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
async fn prometheus_does_not_scrape() {
    // Nothing is scraped, so that there is no rule's result and no value either: still the scrape is the cause.
    let unscraped = |state: &mut State| {
        (state.scraped, state.sampled, state.active) = (0, Some(0), false);
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
        "pod app-a-5d8f7-1 is no target",
        |state| state.scraped = 1,
    )
    .await;
    assert_broken(
        Link::PrometheusScrape,
        "scrapes of pod app-a-5d8f7-1 fail",
        |state| state.down = 1,
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
async fn the_binary_names_its_metric_otherwise() {
    let renamed = |state: &mut State| {
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
async fn the_api_service_is_not_available() {
    let untrusted = |state: &mut State| {
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
    assert_broken(Link::Apiservice, "insecureSkipTLSVerify", |state| {
        state.insecure = true;
    })
    .await;
    let gone = |state: &mut State| {
        state.unavailable = Some((
            "MissingEndpoints",
            "endpoints for service/prometheus-adapter have no addresses",
        ));
    };
    assert_broken(Link::Apiservice, "MissingEndpoints", gone).await;
}

#[tokio::test]
async fn the_rule_and_the_hpa_name_different_metrics() {
    let renamed = |state: &mut State| {
        (state.offered, state.active) = (
            vec!["requests_per_second", "http_request_duration_seconds_average"],
            false,
        );
    };
    let says = "the HPA asks for http_requests_per_second, the adapter offers requests_per_second, http_request_duration";
    assert_broken(Link::AdapterRule, says, renamed).await;
    let hpa_renamed = |state: &mut State| {
        (state.hpa_metric, state.active) = ("requests_each_second", false);
    };
    let says = "the HPA asks for requests_each_second, the adapter offers http_requests_per_second";
    assert_broken(Link::AdapterRule, says, hpa_renamed).await;
    assert_broken(Link::AdapterRule, "no metric of pods at all", |state| {
        state.offered.clear();
    })
    .await;
}

#[tokio::test]
async fn a_pod_without_a_fresh_value() {
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
async fn the_hpa_is_not_active() {
    assert_broken(Link::HpaActive, "FailedGetPodsMetric", |state| {
        state.active = false;
    })
    .await;
}

#[tokio::test]
async fn a_cluster_that_is_away_is_said_to_be() {
    let diagnosis = diagnose(|state| state.away = true).await;
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
async fn it_waits_until_the_chain_is_whole() {
    let scenario = FakeCluster::with(|state| state.active = false);
    let waiting =
        async { wait_until_healthy(&scenario.cluster, &options(), Duration::from_secs(30), |_| ()).await };
    let mending = async {
        tokio::task::yield_now().await;
        scenario.change(|state| state.active = true);
    };
    let (diagnosis, ()) = tokio::join!(waiting, mending);
    assert!(diagnosis.is_healthy(), "{diagnosis:#?}");
}
