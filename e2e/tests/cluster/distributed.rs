//! Load from several pods: the image of the load generator runs as a Job. The account that creates the Job has only the
//! permissions of the documentation, and its namespace admits only pods of the restricted profile.

use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use e2e::{
    COMMAND_DEADLINE, SHORT_CERTIFICATE, apply, deploy_changed, eventually, image, kubectl, loadtest,
    succeed, text, with_diagnostics, xtask,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use testbed::{archive, cluster, command, paths};
use wiring::exposition;

use crate::scaling::wait_for_minimum;

/// The namespace of the Job.
const NAMESPACE: &str = "load";

/// The URL of `app_a` from inside of the cluster.
const URL: &str = "http://app-a.sample-app.svc/hello";

/// The exit code of `loadtest` when a stripe is lost.
const INVALID: i32 = 106;

/// The exit code of `loadtest` after SIGINT.
const INTERRUPTED: i32 = 105;

/// The RBAC rules that the documentation lists.
fn documented_rules() -> Result<String> {
    let document = std::fs::read_to_string(paths::workspace().join("docs/loadtest.md"))?;
    let rules = document
        .split_once("```yaml\n")
        .and_then(|(_, rest)| rest.split_once("```"));
    Ok(rules.context("docs/loadtest.md lists no rules")?.0.to_owned())
}

/// Creates the namespace and an account with the documented rules.
fn create_namespace_and_account() -> Result<()> {
    let rules = documented_rules()?;
    apply(&format!(
        r"
apiVersion: v1
kind: Namespace
metadata:
  name: {NAMESPACE}
  labels:
    pod-security.kubernetes.io/enforce: restricted
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: tester
  namespace: {NAMESPACE}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: tester
  namespace: {NAMESPACE}
{rules}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: tester
  namespace: {NAMESPACE}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: tester
subjects:
  - kind: ServiceAccount
    name: tester
    namespace: {NAMESPACE}
"
    ))
}

/// Writes a kubeconfig for that account to `folder`.
fn kubeconfig(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("kubeconfig");
    std::fs::copy(paths::kubeconfig(), &path)?;
    let token = kubectl(&["-n", NAMESPACE, "create", "token", "tester"])?;
    let (token, namespace) = (
        format!("--token={}", token.trim()),
        format!("--namespace={NAMESPACE}"),
    );
    for arguments in [
        ["set-credentials", "tester", &token].as_slice(),
        &["set-context", "--current", "--user=tester", &namespace],
    ] {
        let mut config = cluster::kubectl();
        succeed(config.env("KUBECONFIG", &path).arg("config").args(arguments))?;
    }
    Ok(path)
}

/// The result of a load from two pods.
struct Run {
    output: Output,
    report: Value,
}

/// Sends 60 requests per second from two pods for `seconds`. `interfere` runs during the load, and gets the process of the
/// command.
fn job(seconds: u32, interfere: impl FnOnce(&Child) -> Result<()>) -> Result<Run> {
    deploy_changed(SHORT_CERTIFICATE)?;
    wait_for_minimum()?;
    let archive = image("loadtest");
    succeed(xtask(&["cluster", "load"]).arg(&archive))?;
    let image = archive::reference(&archive)?;
    create_namespace_and_account()?;
    let folder = tempfile::tempdir()?;
    let report = folder.path().join("report.json");
    let load = format!("-q 60 -z {seconds}s --stripes 2 --start-in 10s");
    let mut command = loadtest(&["job", URL]);
    let running = command
        .args(load.split(' '))
        .args(["--image", &image, "-o"])
        .arg(&report)
        .env("KUBECONFIG", kubeconfig(folder.path())?)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let interference = interfere(&running);
    // Wait for the command before any error is returned: the command deletes the Job.
    let output = command::wait(running, "loadtest job", COMMAND_DEADLINE)?;
    println!("{}", text(&output));
    interference.with_context(|| text(&output))?;
    let report = std::fs::read(report).with_context(|| text(&output))?;
    wait_for_cleanup()?;
    Ok(Run {
        report: serde_json::from_slice(&report).with_context(|| text(&output))?,
        output,
    })
}

/// Waits until the namespace has no Job and no pod.
fn wait_for_cleanup() -> Result<()> {
    eventually("no Job and no pod", || {
        let left = kubectl(&["-n", NAMESPACE, "get", "jobs,pods", "-o", "name"])?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })
}

/// The requests that the pods of `app_a` have counted.
fn requests_counted() -> Result<f64> {
    let names = "jsonpath={.items[*].metadata.name}";
    let app_a = ["get", "pods", "-l", "app.kubernetes.io/name=app-a"];
    let pods = kubectl(&[&["-n", "sample-app"], &app_a[..], &["-o", names]].concat())?;
    let mut sum = 0.0;
    for pod in pods.split_whitespace() {
        let path = format!("/api/v1/namespaces/sample-app/pods/{pod}:9000/proxy/metrics");
        let metrics = kubectl(&["get", "--raw", &path])?;
        sum += exposition::sum(&metrics, "http_requests_total").map_err(anyhow::Error::msg)?;
    }
    Ok(sum)
}

/// Waits until the pods of `app_a` have counted `times` more requests.
fn wait_for_requests(times: f64) -> Result<()> {
    let before = requests_counted()?;
    eventually(&format!("{times} more requests to app_a"), || {
        let now = requests_counted()?;
        ensure!(now >= before + times, "{now} requests, and {before} at the start");
        Ok(())
    })
}

#[test]
fn a_load_from_two_pods_sends_the_whole_schedule_and_leaves_nothing() {
    with_diagnostics(|| {
        let Run { output, report } = job(15, |_| Ok(()))?;
        ensure!(output.status.success(), "{}", text(&output));
        let requests = &report["requests"];
        for (count, expected) in [
            ("scheduled", 900),
            ("sent", 900),
            ("succeeded", 900),
            ("failed", 0),
        ] {
            ensure!(requests[count] == expected, "{count}: {requests}");
        }
        let stripes = report["stripes"].as_array().context("no stripes")?;
        ensure!(stripes.len() == 2, "{stripes:?}");
        for stripe in stripes {
            ensure!(stripe["sent"] == 450 && stripe["problem"].is_null(), "{stripe}");
        }
        ensure!(stripes[0]["name"] != stripes[1]["name"], "{stripes:?}");
        let pods = report["served_by"].as_object().context("no served_by")?;
        ensure!(
            pods.len() == 2 && pods.keys().all(|pod| pod.starts_with("app-a-")),
            "the Service did not spread the load over both pods of app_a: {pods:?}"
        );
        Ok(())
    });
}

#[test]
fn a_run_that_loses_a_pod_is_invalid_and_names_its_stripe() {
    with_diagnostics(|| {
        let Run { output, report } = job(15, |_| {
            wait_for_requests(1.0)?;
            let second = "batch.kubernetes.io/job-completion-index=1";
            kubectl(&["-n", NAMESPACE, "delete", "pod", "-l", second, "--wait=false"]).map(drop)
        })?;
        ensure!(output.status.code() == Some(INVALID), "{}", text(&output));
        ensure!(
            String::from_utf8_lossy(&output.stdout).contains("stripe 1 of 2 is lost"),
            "{}",
            text(&output)
        );
        let stripes = report["stripes"].as_array().context("no stripes")?;
        ensure!(
            stripes.len() == 2 && stripes[0]["problem"].is_null() && stripes[0]["sent"] == 450,
            "the other stripe is incomplete: {stripes:?}"
        );
        ensure!(stripes[1]["problem"].is_string(), "{stripes:?}");
        Ok(())
    });
}

#[test]
fn an_interrupted_load_reports_the_requests_until_then_and_leaves_nothing() {
    with_diagnostics(|| {
        let Run { output, report } = job(60, |running| {
            wait_for_requests(300.0)?;
            let running = Pid::from_raw(running.id().try_into()?);
            Ok(kill(running, Signal::SIGINT)?)
        })?;
        ensure!(output.status.code() == Some(INTERRUPTED), "{}", text(&output));
        let (verdict, requests) = (&report["verdict"], &report["requests"]);
        ensure!(verdict["outcome"] == "interrupted", "{verdict}");
        let count = |name: &str| requests[name].as_u64().unwrap_or(u64::MAX);
        ensure!(
            (300..3600).contains(&count("succeeded")) && count("succeeded") == count("scheduled"),
            "some requests that were due had no response: {requests}"
        );
        let stripes = report["stripes"].as_array().context("no stripes")?;
        let sent: Vec<_> = stripes
            .iter()
            .filter_map(|stripe| stripe["sent"].as_u64())
            .collect();
        ensure!(
            sent.len() == 2
                && sent.iter().all(|sent| *sent >= 100)
                && sent.iter().sum::<u64>() == count("sent"),
            "a stripe sent too little: {stripes:?}"
        );
        ensure!(
            stripes.iter().all(|stripe| stripe["problem"].is_null()),
            "{stripes:?}"
        );
        Ok(())
    });
}
