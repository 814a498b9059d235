//! The metrics of the deployed pair: idle pods report no requests, and each pod reports its latency.

use anyhow::{Context as _, Result, ensure};
use e2e::{
    SHORT_CERTIFICATE, deploy_changed, eventually, kubectl, loadtest, succeed, wait_for_chain,
    wait_for_rollouts, with_diagnostics,
};
use serde_json::Value;

use crate::prometheus;
use crate::scaling::{URL, wait_for_minimum};

#[test]
fn an_idle_pair_counts_no_requests_although_it_is_probed_and_scraped() {
    with_diagnostics(|| {
        deploy_changed(SHORT_CERTIFICATE)?;
        // A counter starts at 0 when its process starts, so restarted pods have counted nothing yet.
        for name in ["deployment/app-a", "deployment/app-b"] {
            kubectl(&["-n", "sample-app", "rollout", "restart", name])?;
        }
        wait_for_rollouts()?;
        wait_for_minimum()?;
        wait_for_chain()?;
        eventually("ten scrapes of each of the four pods", || {
            let scrapes =
                prometheus::query(r#"min(count_over_time(up{namespace="sample-app",job="requests"}[2m]))"#)?;
            ensure!(scrapes >= 10.0, "the newest pod has been scraped {scrapes} times");
            let pods = prometheus::query(r#"count(up{namespace="sample-app",job="requests"} == 1)"#)?;
            ensure!(pods >= 4.0, "Prometheus scrapes {pods} pods");
            Ok(())
        })?;
        let requests = prometheus::query(r#"sum(http_requests_total{namespace="sample-app"})"#)?;
        ensure!(requests == 0.0, "idle pods counted {requests} requests");
        Ok(())
    });
}

/// The value of a metric for each pod of `app_a`, in thousandths, as the HPA reads it.
fn custom_metric(metric: &str) -> Result<Vec<(String, f64)>> {
    let path = format!(
        "/apis/custom.metrics.k8s.io/v1beta1/namespaces/sample-app/pods/*/{metric}?labelSelector=app.kubernetes.io/name%3Dapp-a"
    );
    let list: Value = serde_json::from_str(&kubectl(&["get", "--raw", &path])?)?;
    let items = list["items"].as_array().context("no list")?;
    let value_of = |item: &Value| {
        let pod = item["describedObject"]["name"].as_str().context("no pod")?;
        let value = item["value"].as_str().context("no value")?;
        let thousandths = match value.strip_suffix('m') {
            Some(thousandths) => thousandths.parse()?,
            None => value.parse::<f64>()? * 1000.0,
        };
        Ok((pod.to_owned(), thousandths))
    };
    items.iter().map(value_of).collect()
}

/// Waits until the API serves `metric` for both pods of `app_a`, with the values that Prometheus computes. `query_of` returns
/// the query for a pod.
fn wait_until_served(metric: &str, query_of: &dyn Fn(&str) -> String) -> Result<()> {
    eventually(&format!("{metric} of both pods"), || {
        let served = custom_metric(metric)?;
        ensure!(served.len() == 2, "the API serves {served:?}");
        for (pod, served) in served {
            let seconds = prometheus::query(&query_of(&pod))?;
            // The API truncates to thousandths, and the window of the rate moves between the two reads.
            ensure!(
                (served - 1000.0 * seconds).abs() < 1.5,
                "{pod}: the API serves {served} ms, Prometheus computes {seconds} s"
            );
        }
        Ok(())
    })
}

#[test]
fn the_latency_of_each_pod_is_served_and_disappears_without_requests() {
    with_diagnostics(|| {
        deploy_changed(SHORT_CERTIFICATE)?;
        wait_for_minimum()?;
        // The definitions of both metrics in PromQL, with the window of the adapter's rules.
        let duration = |part: &str, pod: &str| {
            format!(r#"rate(http_request_duration_seconds_{part}{{pod="{pod}"}}[1m])"#)
        };
        let average = |pod: &str| format!("sum({}) / sum({})", duration("sum", pod), duration("count", pod));
        let p99 = |pod: &str| {
            format!(
                "histogram_quantile(0.99, sum by (le) ({}))",
                duration("bucket", pod)
            )
        };
        let url = format!("{URL}/jobs");
        let load = [
            "-m",
            "PUT",
            "-H",
            "Authorization: mytoken",
            "-q",
            "100",
            "-z",
            "30s",
        ];
        succeed(loadtest(&["run", &url]).args(load))?;
        wait_until_served("http_request_duration_seconds_average", &average)?;
        wait_until_served("http_request_duration_seconds_p99", &p99)?;
        for metric in [
            "http_request_duration_seconds_average",
            "http_request_duration_seconds_p99",
        ] {
            // The metric must be missing: a value of 0 would mean that the pod is fast.
            eventually(&format!("no {metric} for pods without requests"), || {
                match custom_metric(metric) {
                    Ok(served) => ensure!(served.is_empty(), "the API serves {served:?}"),
                    Err(error) => ensure!(error.to_string().contains("NotFound"), "{error:#}"),
                }
                Ok(())
            })?;
        }
        Ok(())
    });
}
