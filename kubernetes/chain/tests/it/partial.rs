//! Parts of an installation: what is missing is not checked, and what is there is.

use wiring::{Link, diagnosis::LinkState};

use crate::fixture::{ADAPTER, METRICS, PROMETHEUS, SHOP, assert_link, complete, diagnose, replaced};

#[test]
fn the_hpa_alone_is_checked() {
    let (hpa, _) = SHOP.split_once("---").expect("two documents");
    let diagnosis = diagnose(hpa, None);
    assert!(diagnosis.is_healthy(), "{diagnosis:#?}");
    for report in &diagnosis.links {
        let expected = if report.link == Link::Hpa {
            LinkState::Ok
        } else {
            LinkState::NotChecked
        };
        assert_eq!(report.state, expected, "{diagnosis:#?}");
    }
    assert_link(
        &diagnosis,
        Link::Pods,
        LinkState::NotChecked,
        "not among the manifests",
    );
    assert_link(
        &diagnosis,
        Link::PrometheusScrape,
        LinkState::NotChecked,
        "not known",
    );
    assert_link(
        &diagnosis,
        Link::AdapterRule,
        LinkState::NotChecked,
        "no configuration of the adapter",
    );
    assert_link(
        &diagnosis,
        Link::Apiservice,
        LinkState::NotChecked,
        "no APIService",
    );
}

#[test]
fn without_a_metrics_page_the_series_is_not_checked() {
    let diagnosis = diagnose(&complete(), None);
    assert_link(
        &diagnosis,
        Link::ServiceMetric,
        LinkState::NotChecked,
        "no /metrics page of the pods; they must export orders_total",
    );
    assert_link(&diagnosis, Link::AdapterRule, LinkState::Ok, "orders_total");
}

#[test]
fn without_prometheus_the_rest_is_checked() {
    let diagnosis = diagnose(&[SHOP, ADAPTER].concat(), Some(METRICS));
    assert_link(
        &diagnosis,
        Link::PrometheusScrape,
        LinkState::NotChecked,
        "no configuration of Prometheus, PodMonitor or ServiceMonitor",
    );
    assert!(diagnosis.is_healthy(), "{diagnosis:#?}");
}

#[test]
fn without_the_adapter_the_rest_is_checked() {
    let diagnosis = diagnose(&[SHOP, PROMETHEUS].concat(), Some(METRICS));
    assert_link(
        &diagnosis,
        Link::PrometheusScrape,
        LinkState::Ok,
        "annotated-pods",
    );
    assert_link(&diagnosis, Link::HpaActive, LinkState::NotChecked, "no binding");
    assert!(diagnosis.is_healthy(), "{diagnosis:#?}");
}

#[test]
fn the_rules_alone_are_checked() {
    let config = ADAPTER.split("---").nth(1).expect("the ConfigMap");
    let renamed = replaced(config, "_total$", "_count$");
    let diagnosis = diagnose(&[SHOP, "---", &renamed].concat(), Some(METRICS));
    assert_link(
        &diagnosis,
        Link::ServiceMetric,
        LinkState::Broken,
        "needs orders_count, but the pods export orders_total",
    );
}
