//! The certificate of the adapter: its renewal, and the `caBundle` by which the API server verifies it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::{SHORT_CERTIFICATE, deploy_changed, eventually, kubectl, wait_for_chain, with_diagnostics};

use crate::prometheus;

/// The `caBundle` of the APIService, base64.
pub(crate) fn api_service_bundle() -> Result<String> {
    kubectl(&[
        "get",
        "apiservice",
        "v1beta1.custom.metrics.k8s.io",
        "-o",
        "jsonpath={.spec.caBundle}",
    ])
}

/// The authority of the cluster, base64: a valid certificate that did not sign the adapter's.
pub(crate) fn cluster_authority() -> Result<String> {
    kubectl(&[
        "config",
        "view",
        "--raw",
        "-o",
        "jsonpath={.clusters[0].cluster.certificate-authority-data}",
    ])
}

/// Replaces the `caBundle` with the authority of the cluster.
pub(crate) fn replace_bundle() -> Result<()> {
    let patch = format!(r#"{{"spec":{{"caBundle":"{}"}}}}"#, cluster_authority()?);
    kubectl(&[
        "patch",
        "apiservice",
        "v1beta1.custom.metrics.k8s.io",
        "--type=merge",
        "-p",
        &patch,
    ])
    .map(drop)
}

#[test]
fn a_certificate_is_renewed_before_it_expires() {
    with_diagnostics(|| {
        // The certificate is renewed after 72 to 84 s. The new one is in use two reconcile intervals of 10 s later.
        deploy_changed(SHORT_CERTIFICATE)?;
        wait_for_chain()?;
        let (first, start) = (api_service_bundle()?, Instant::now());
        let mut outages = Vec::new();
        eventually("the first certificate has expired", || {
            // The API server opens a new connection, and verifies the certificate, when the caBundle changes.
            if let Err(error) = kubectl(&["get", "--raw", "/apis/custom.metrics.k8s.io/v1beta1"]) {
                outages.push(format!("after {:?}: {error:#}", start.elapsed()));
            }
            ensure!(
                start.elapsed() > Duration::from_secs(130),
                "{:?} of its 2 minutes have passed",
                start.elapsed()
            );
            Ok(())
        })?;
        ensure!(outages.is_empty(), "the custom metrics API failed: {outages:#?}");
        ensure!(
            api_service_bundle()? != first,
            "the caBundle has not changed: the certificate was not renewed"
        );
        let restarts = kubectl(&[
            "-n",
            "monitoring",
            "get",
            "pods",
            "-l",
            "app.kubernetes.io/name=prometheus-adapter",
            "-o",
            "jsonpath={.items[*].status.initContainerStatuses[*].restartCount}",
        ])?;
        ensure!(
            restarts == "0",
            "the sidecar restarted {restarts} times: a new certificate is not a renewal"
        );
        eventually("Prometheus has counted the renewal", || {
            at_least_one("max(serving_certificate_renewals_total)")
        })?;
        // 2 minutes are less than the 7 days of the rule.
        eventually("Prometheus reports a certificate that expires soon", || {
            at_least_one(r#"max(ALERTS{alertname="ServingCertificateExpires",alertstate="firing"})"#)
        })?;
        wait_for_chain()
    });
}

/// Fails unless the value of a query is at least 1.
fn at_least_one(query: &str) -> Result<()> {
    let value = prometheus::query(query)?;
    ensure!(value >= 1.0, "{query} is {value}");
    Ok(())
}
