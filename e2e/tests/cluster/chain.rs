//! Breaks links of the metrics chain on a live cluster, one at a time. `loadtest chain` must name the broken link.
//!
//! All tests use the same cluster. Each test breaks a link, waits until the link is named, reverts the change, and waits until
//! the chain holds again.

use anyhow::{Context as _, Result, ensure};
use e2e::{
    Change, apply_changed, apply_overlay, deploy, eventually, loadtest, output, text, wait_for_chain,
    with_diagnostics,
};
use wiring::Link;

use crate::certificate::{api_service_bundle, cluster_authority, replace_bundle};
use crate::prometheus;

/// The limit of the alert `ServingCertificateExpires`.
const SEVEN_DAYS_IN_SECONDS: f64 = 7.0 * 86400.0;

/// Scrapes between which Prometheus evaluates the rules: both have an interval of 15 s.
const SCRAPES: f64 = 2.0;

/// Waits until `loadtest chain` names `link` as the first broken one.
pub(crate) fn wait_until_named(link: Link) -> Result<()> {
    eventually(&format!("the chain is broken at {link}"), || {
        let output = output(&mut loadtest(&["chain", "--wait", "1s", "--json"]))?;
        ensure!(
            output.status.code() == Some(1),
            "loadtest chain: {}, expected exit code 1: {}",
            output.status,
            text(&output)
        );
        let report: serde_json::Value =
            serde_json::from_slice(&output.stdout).with_context(|| text(&output))?;
        let links = report["chains"][0]["links"].as_array().context("no links")?;
        let broken = links
            .iter()
            .find(|found| found["state"] == "broken")
            .context("no broken link")?;
        ensure!(broken["link"] == link.name(), "the first broken link is {broken}");
        println!("{link}: {}", broken["detail"]);
        Ok(())
    })
}

/// Asserts that the chain holds with the unchanged manifests, breaks at `link` with the change, and holds again after the
/// revert.
fn breaks_at(link: Link, change: Change<'_>) {
    with_diagnostics(|| {
        deploy()?;
        wait_for_chain()?;
        apply_changed(&[change])?;
        wait_until_named(link)?;
        apply_overlay()?;
        wait_for_chain()
    });
}

#[test]
fn a_metric_renamed_in_the_hpa_is_named() {
    breaks_at(
        Link::AdapterRule,
        (
            "base/app-a/horizontal-pod-autoscaler.yaml",
            "name: http_requests_per_second",
            "name: http_requests_per_minute",
        ),
    );
}

#[test]
fn a_metric_renamed_in_the_adapter_rule_is_named() {
    breaks_at(
        Link::AdapterRule,
        (
            "components/custom-metrics/adapter/config.yaml",
            "as: http_requests_per_second",
            "as: requests_per_second",
        ),
    );
}

#[test]
fn a_metric_renamed_in_the_service_is_named() {
    // Prometheus renames the series at the scrape, as if the service exported it under another name.
    breaks_at(
        Link::ServiceMetric,
        (
            "components/monitoring/prometheus/prometheus.yaml",
            "        regex: http_requests_total\n        action: keep\n",
            "        regex: http_requests_total\n        action: keep\n      - source_labels: [__name__]\n        regex: \
             http_requests_total\n        target_label: __name__\n        replacement: http_request_count\n",
        ),
    );
}

#[test]
fn a_prometheus_that_does_not_scrape_the_pods_is_named() {
    breaks_at(
        Link::PrometheusScrape,
        (
            "components/monitoring/prometheus/prometheus.yaml",
            "regex: admin",
            "regex: metrics",
        ),
    );
}

#[test]
fn a_wrong_ca_bundle_is_named() {
    with_diagnostics(|| {
        deploy()?;
        // With the usual interval of 10 s the sidecar would repair the caBundle before the diagnosis.
        apply_changed(&[(
            "components/custom-metrics/adapter/deployment.yaml",
            "value: 10s",
            "value: 1h",
        )])?;
        wait_for_chain()?;
        replace_bundle()?;
        wait_until_named(Link::Apiservice)?;
        apply_overlay()?;
        wait_for_chain()
    });
}

#[test]
fn an_overwritten_ca_bundle_is_repaired() {
    with_diagnostics(|| {
        deploy()?;
        wait_for_chain()?;
        replace_bundle()?;
        eventually("the sidecar adds its own authority to the caBundle", || {
            ensure!(
                api_service_bundle()? != cluster_authority()?,
                "the caBundle still contains only the wrong authority"
            );
            Ok(())
        })?;
        wait_for_chain()
    });
}

// In this suite, because the suite with the renewal deploys a certificate of two minutes in each test.
#[test]
fn the_committed_certificate_fires_no_alert() {
    with_diagnostics(|| {
        deploy()?;
        wait_for_chain()?;
        let end = "serving_certificate_expiration_timestamp_seconds";
        eventually("Prometheus has evaluated the rules with this certificate", || {
            let left = prometheus::query(&format!("min({end}) - time()"))?;
            ensure!(left > SEVEN_DAYS_IN_SECONDS, "{left} s are left");
            let scrapes = prometheus::query(&format!("min(count_over_time({end}[1m]))"))?;
            ensure!(scrapes >= SCRAPES, "{scrapes} scrapes of it");
            Ok(())
        })?;
        let query = r#"count(ALERTS{alertname="ServingCertificateExpires"}) or vector(0)"#;
        let alerts = prometheus::query(query)?;
        ensure!(alerts == 0.0, "{query} is {alerts}");
        Ok(())
    });
}
