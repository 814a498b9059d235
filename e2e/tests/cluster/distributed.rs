//! A load from several pods: the load generator's own image, run as a Job by somebody who may do what the documentation
//! says and no more, in a namespace that takes only pods of the restricted profile.

use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use e2e::{apply, deployed, eventually, kubectl, loadtest, on_failure_look_around, printed, succeed, xtask};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use testbed::{archive, cluster, paths};

use crate::scaling::at_rest;

/// Where the pods of the load run.
const NAMESPACE: &str = "load";

/// `app_a` as a pod sees it.
const URL: &str = "http://app-a.sample-app.svc/hello";

/// What `loadtest` ends with when a stripe is lost.
const INVALID: i32 = 106;

/// And when it is told to stop.
const INTERRUPTED: i32 = 105;

/// The rules that the documentation says are enough.
fn documented_rules() -> Result<String> {
    let text = std::fs::read_to_string(paths::workspace().join("docs/loadtest.md"))?;
    let rules = text
        .split_once("```yaml\n")
        .and_then(|(_, rest)| rest.split_once("```"));
    Ok(rules.context("no rules in docs/loadtest.md")?.0.to_owned())
}

/// A namespace, and in it an account with the documented rules.
fn prepare() -> Result<()> {
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

/// The kubeconfig of that account, in `folder`.
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

/// A load from two pods, and what came of it.
struct Run {
    output: Output,
    report: Value,
}

/// Sends 60 requests a second from two pods, for `seconds`. Meanwhile `interfere` may do something, to the command too.
fn job(seconds: u32, interfere: impl FnOnce(&Child) -> Result<()>) -> Result<Run> {
    deployed()?;
    at_rest()?;
    let own_image = paths::own_images().join("loadtest.tar");
    succeed(xtask(&["cluster", "load"]).arg(&own_image))?;
    let image = archive::reference(&own_image)?;
    prepare()?;
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
    let interfered = interfere(&running);
    // First its end: it deletes the Job.
    let output = running.wait_with_output()?;
    println!("{}", printed(&output));
    interfered.with_context(|| printed(&output))?;
    let report = std::fs::read(report).with_context(|| printed(&output))?;
    nothing_is_left()?;
    Ok(Run {
        report: serde_json::from_slice(&report).with_context(|| printed(&output))?,
        output,
    })
}

fn nothing_is_left() -> Result<()> {
    eventually("no Job and no pod", || {
        let left = kubectl(&["-n", NAMESPACE, "get", "jobs,pods", "-o", "name"])?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })
}

/// What `app_a`'s pods have counted by now.
fn requests_counted() -> Result<f64> {
    let names = "jsonpath={.items[*].metadata.name}";
    let app_a = ["get", "pods", "-l", "app.kubernetes.io/name=app-a"];
    let pods = kubectl(&[&["-n", "sample-app"], &app_a[..], &["-o", names]].concat())?;
    let mut sum = 0.0;
    for pod in pods.split_whitespace() {
        let path = format!("/api/v1/namespaces/sample-app/pods/{pod}:9000/proxy/metrics");
        let metrics = kubectl(&["get", "--raw", &path])?;
        let counters = metrics
            .lines()
            .filter(|line| line.starts_with("http_requests_total{"));
        for value in counters.filter_map(|line| line.rsplit(' ').next()) {
            sum += value.parse::<f64>()?;
        }
    }
    Ok(sum)
}

/// Waits until `app_a`'s pods have counted so many requests from now on.
fn until_asked(times: f64) -> Result<()> {
    let before = requests_counted()?;
    eventually("app_a is asked", || {
        let now = requests_counted()?;
        ensure!(now >= before + times, "{now} requests, and {before} before");
        Ok(())
    })
}

#[test]
fn a_load_from_two_pods_is_the_whole_schedule_and_leaves_nothing() {
    on_failure_look_around(|| {
        let Run { output, report } = job(15, |_| Ok(()))?;
        ensure!(output.status.success(), "{}", printed(&output));
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
            "the Service spreads the load over app_a's pods: {pods:?}"
        );
        Ok(())
    });
}

#[test]
fn a_stripe_whose_pod_goes_makes_the_run_invalid_and_is_named() {
    on_failure_look_around(|| {
        let Run { output, report } = job(15, |_| {
            until_asked(1.0)?;
            let second = "batch.kubernetes.io/job-completion-index=1";
            kubectl(&["-n", NAMESPACE, "delete", "pod", "-l", second, "--wait=false"]).map(drop)
        })?;
        ensure!(output.status.code() == Some(INVALID), "{}", printed(&output));
        ensure!(
            String::from_utf8_lossy(&output.stdout).contains("stripe 1 of 2 is lost"),
            "{}",
            printed(&output)
        );
        let stripes = report["stripes"].as_array().context("no stripes")?;
        ensure!(
            stripes.len() == 2 && stripes[0]["problem"].is_null() && stripes[0]["sent"] == 450,
            "the other stripe did its part: {stripes:?}"
        );
        ensure!(stripes[1]["problem"].is_string(), "{stripes:?}");
        Ok(())
    });
}

#[test]
fn an_interrupted_load_reports_what_its_pods_sent_until_then_and_leaves_nothing() {
    on_failure_look_around(|| {
        let Run { output, report } = job(60, |running| {
            until_asked(300.0)?;
            let running = Pid::from_raw(running.id().try_into()?);
            Ok(kill(running, Signal::SIGINT)?)
        })?;
        ensure!(output.status.code() == Some(INTERRUPTED), "{}", printed(&output));
        let (verdict, requests) = (&report["verdict"], &report["requests"]);
        ensure!(verdict["outcome"] == "interrupted", "{verdict}");
        let count = |name: &str| requests[name].as_u64().unwrap_or(u64::MAX);
        ensure!(
            (300..3600).contains(&count("succeeded")) && count("succeeded") == count("scheduled"),
            "every request that was due had its answer: {requests}"
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
            "both took part: {stripes:?}"
        );
        ensure!(
            stripes.iter().all(|stripe| stripe["problem"].is_null()),
            "{stripes:?}"
        );
        Ok(())
    });
}
