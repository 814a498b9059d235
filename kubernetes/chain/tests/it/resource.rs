//! HPAs on CPU: their metric does not come through Prometheus.

use wiring::{Link, diagnosis::LinkState};

use crate::fixture::{SHOP, assert_link, assert_only_broken, diagnose, replaced};

fn on_cpu() -> String {
    replaced(
        SHOP,
        "    - type: Pods\n      pods:\n        metric: {name: orders_per_second}\n        target: {type: AverageValue, averageValue: \"20\"}\n",
        "    - {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}}\n",
    )
}

#[test]
fn a_share_of_requests_needs_requests() {
    assert_only_broken(
        &diagnose(&on_cpu(), None),
        Link::Pods,
        "a share of the cpu requests, but shop has none",
    );
}

#[test]
fn an_hpa_on_cpu_needs_no_prometheus() {
    let requested = replaced(
        &on_cpu(),
        "image: example/shop:1",
        "resources: {requests: {cpu: 100m}}\n          image: example/shop:1",
    );
    let diagnosis = diagnose(&requested, None);
    assert!(diagnosis.is_healthy(), "{diagnosis:#?}");
    assert_link(
        &diagnosis,
        Link::Hpa,
        LinkState::Ok,
        "on cpu, 70 % of the requests",
    );
    assert_link(
        &diagnosis,
        Link::PrometheusScrape,
        LinkState::NotChecked,
        "does not come through Prometheus",
    );
}
