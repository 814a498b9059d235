//! The chain from a request to a scaling decision, broken on the live cluster at one link after the other: each time the
//! load tool has to name that link.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::{
    chain_is_whole, deployed, eventually, kubectl, loadtest, on_failure_look_around, output, printed,
    rolled_out,
};
use testbed::paths;

/// A change of the manifests' text: file, what is there, what is put in its place.
pub(crate) type Change<'a> = (&'a str, &'a str, &'a str);

/// Applies a copy of the manifests in which one thing is different.
pub(crate) fn apply_changed((file, from, to): Change<'_>) -> Result<()> {
    let copy = tempfile::tempdir()?;
    copy_folder(&paths::workspace().join("kubernetes"), copy.path())?;
    let path = copy.path().join(file);
    let text = fs::read_to_string(&path).with_context(|| file.to_owned())?;
    ensure!(
        text.contains(from),
        "{file} has no {from:?} to change: the test is out of date"
    );
    fs::write(&path, text.replace(from, to))?;
    kubectl(&[
        "apply",
        "-k",
        &copy.path().join("overlays/local").display().to_string(),
    ])?;
    rolled_out()
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir_all(&target)?;
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The load tool looks at the chain until it names `link` as broken: what was broken takes a moment to show.
fn is_named(link: &str) -> Result<()> {
    eventually(&format!("the chain broken at {link}"), || {
        let output = output(&mut loadtest(&["chain", "--wait", "1s", "--json"]))?;
        ensure!(
            output.status.code() == Some(1),
            "ended with {}: {}",
            output.status,
            printed(&output)
        );
        let report: serde_json::Value =
            serde_json::from_slice(&output.stdout).with_context(|| printed(&output))?;
        let links = report["chains"][0]["links"].as_array().context("no links")?;
        let broken = links
            .iter()
            .find(|found| found["state"] == "broken")
            .context("no broken link")?;
        ensure!(
            broken["link"] == link,
            "the chain is said to be broken at {broken}"
        );
        println!("{link}: {}", broken["detail"]);
        Ok(())
    })
}

/// The manifests as they are make the chain whole; with the change it breaks at `link`; without it, it heals.
fn breaks_at(link: &str, change: Change<'_>) {
    on_failure_look_around(|| {
        deployed()?;
        chain_is_whole()?;
        apply_changed(change)?;
        is_named(link)?;
        deployed()?;
        chain_is_whole()
    });
}

#[test]
fn a_metric_renamed_in_the_hpa_is_named() {
    breaks_at(
        "adapter-rule",
        (
            "base/app-a/horizontal-pod-autoscaler.yaml",
            "name: http_requests_per_second",
            "name: http_requests_per_minute",
        ),
    );
}

#[test]
fn a_metric_renamed_in_the_rule_is_named() {
    breaks_at(
        "adapter-rule",
        (
            "components/custom-metrics/adapter/config.yaml",
            "as: http_requests_per_second",
            "as: requests_per_second",
        ),
    );
}

#[test]
fn a_metric_renamed_in_the_binary_is_named() {
    // As Prometheus sees it, which is where the binary's name first matters.
    breaks_at(
        "service-metric",
        (
            "components/monitoring/prometheus/prometheus.yaml",
            "    relabel_configs:\n",
            "    metric_relabel_configs:\n      - source_labels: [__name__]\n        regex: http_requests_total\n        \
             target_label: __name__\n        replacement: http_request_count\n    relabel_configs:\n",
        ),
    );
}

#[test]
fn a_prometheus_that_does_not_scrape_is_named() {
    breaks_at(
        "prometheus-scrape",
        (
            "components/monitoring/prometheus/prometheus.yaml",
            "regex: admin",
            "regex: metrics",
        ),
    );
}

#[test]
fn a_wrong_ca_bundle_is_named() {
    on_failure_look_around(|| {
        deployed()?;
        chain_is_whole()?;
        // The sidecar would put its own authority back at once.
        apply_changed((
            "components/custom-metrics/adapter/deployment.yaml",
            "value: 10s",
            "value: 1h",
        ))?;
        chain_is_whole()?;
        replace_the_bundle()?;
        is_named("apiservice")?;
        deployed()?;
        chain_is_whole()
    });
}

#[test]
fn a_ca_bundle_that_somebody_overwrites_heals() {
    on_failure_look_around(|| {
        deployed()?;
        chain_is_whole()?;
        replace_the_bundle()?;
        eventually("the sidecar's authority beside the foreign one", || {
            ensure!(
                bundle()? != foreign()?,
                "the caBundle is still the foreign authority alone"
            );
            Ok(())
        })?;
        chain_is_whole()
    });
}

#[test]
fn a_certificate_is_renewed_before_it_ends() {
    on_failure_look_around(|| {
        deployed()?;
        // Made after 72 to 84 s, and in use two rounds of 10 s later.
        apply_changed((
            "components/custom-metrics/adapter/deployment.yaml",
            "value: 30days",
            "value: 2m",
        ))?;
        chain_is_whole()?;
        let (first, seen) = (bundle()?, Instant::now());
        let mut outages = Vec::new();
        eventually("the end of the first certificate", || {
            // The API server verifies the certificate for each connection, and makes a new one when the caBundle changes.
            if let Err(error) = kubectl(&["get", "--raw", "/apis/custom.metrics.k8s.io/v1beta1"]) {
                outages.push(format!("after {:?}: {error:#}", seen.elapsed()));
            }
            ensure!(seen.elapsed() > Duration::from_secs(130), "it may still be valid");
            Ok(())
        })?;
        ensure!(outages.is_empty(), "the API was away: {outages:#?}");
        ensure!(bundle()? != first, "the caBundle is still the first");
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
            "it was made anew and not renewed: {restarts} restarts"
        );
        deployed()?;
        chain_is_whole()
    });
}

fn bundle() -> Result<String> {
    kubectl(&[
        "get",
        "apiservice",
        "v1beta1.custom.metrics.k8s.io",
        "-o",
        "jsonpath={.spec.caBundle}",
    ])
}

/// An authority that did not sign the adapter's certificate: the cluster's own.
fn foreign() -> Result<String> {
    kubectl(&[
        "config",
        "view",
        "--raw",
        "-o",
        "jsonpath={.clusters[0].cluster.certificate-authority-data}",
    ])
}

fn replace_the_bundle() -> Result<()> {
    let patch = format!(r#"{{"spec":{{"caBundle":"{}"}}}}"#, foreign()?);
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
