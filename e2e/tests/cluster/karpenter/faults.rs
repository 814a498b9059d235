//! Nodes that fail, and a disruption budget that Karpenter keeps.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::{COMMAND_DEADLINE, apply, eventually, kubectl, loadtest, succeed, text, with_diagnostics, xtask};
use serde_json::Value;
use testbed::nodes::ZONES;
use testbed::{command, versions};

use super::{OVERLAY, start};
use crate::nodes::{first_process, items, ready, set_minimum};
use crate::scaling::URL;

/// The seconds in which requests may fail after a node was killed. Its pods stay endpoints until Karpenter evicts them: the provider
/// notices the loss within 2 s, and the `PodDisruptionBudget` of 25 % permits two evictions at a time. A request takes up to 2 s to
/// fail. It took 4 s on an idle machine.
const FAILING_SECONDS_AFTER_A_KILL: usize = 20;

/// The length of the load: the seconds before the kill, those in which requests may fail, and 20 s in which none may.
const LOAD: &str = "45s";

/// The number of requests that may fail then: less than those of 5 s to half of the pods, at 100 requests per second.
const FAILED_AFTER_A_KILL: u64 = 250;

/// Undoes the changes of a test, also after a failure.
fn restore() -> Result<()> {
    kubectl(&["delete", "deployment,pdb", "held", "--ignore-not-found"])?;
    for zone in ZONES {
        succeed(&mut xtask(&["cluster", "zone", "restore", zone]))?;
    }
    kubectl(&["apply", "-k", OVERLAY]).map(drop)
}

/// Runs a test, and undoes its changes.
fn check(start: fn() -> Result<()>, body: impl FnOnce() -> Result<()>) {
    with_diagnostics(|| {
        start()?;
        let outcome = body();
        outcome.and(restore())
    });
}

/// Starts as [`start`], and waits until Karpenter has removed every node of an earlier test. After the demo there is none.
fn start_without_nodes() -> Result<()> {
    start()?;
    eventually("Karpenter has removed every node", || {
        let claims = claims("default")?;
        ensure!(claims.is_empty(), "{claims:?}");
        Ok(())
    })
}

/// The names of the claims of a `NodePool`.
pub(super) fn claims(pool: &str) -> Result<BTreeSet<String>> {
    let selector = format!("--selector=karpenter.sh/nodepool={pool}");
    Ok(names(&items(&["nodeclaims", &selector])?))
}

fn names(objects: &[Value]) -> BTreeSet<String> {
    let name = |object: &Value| Some(object["metadata"]["name"].as_str()?.to_owned());
    objects.iter().filter_map(name).collect()
}

/// Fails unless so many pods of `app_a` are ready, on nodes that are Ready. Returns the added ones of these nodes.
fn serving(replicas: usize) -> Result<BTreeSet<String>> {
    let nodes = items(&["nodes"])?;
    let alive: Vec<_> = nodes
        .into_iter()
        .filter(|node| ready(node) == Some("True"))
        .collect();
    let alive = names(&alive);
    let pods = items(&["pods", "-n", "sample-app", "-l", "app.kubernetes.io/name=app-a"])?;
    let nodes_of_ready: Vec<_> = pods
        .iter()
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null() && ready(pod) == Some("True"))
        .filter_map(|pod| pod["spec"]["nodeName"].as_str())
        .filter(|node| alive.contains(*node))
        .collect();
    ensure!(
        nodes_of_ready.len() == replicas,
        "ready pods are on {nodes_of_ready:?}, ready nodes are {alive:?}"
    );
    let added = nodes_of_ready.into_iter().filter(|node| *node != "testbed");
    Ok(added.map(str::to_owned).collect())
}

/// A pod that only an added node can run.
fn apply_held() -> Result<()> {
    let manifest = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: held, namespace: default}
spec:
  selector: {matchLabels: {name: held}}
  template:
    metadata: {labels: {name: held}}
    spec:
      terminationGracePeriodSeconds: 0
      nodeSelector: {karpenter.sh/nodepool: default}
      containers:
      - {name: pause, image: "registry.k8s.io/pause:PAUSE", resources: {requests: {cpu: 100m}}}
"#;
    apply(&manifest.replace("PAUSE", versions::PAUSE))
}

/// Fails unless the pod of [`apply_held`] runs. Returns its node.
fn node_of_held() -> Result<String> {
    let pods = items(&["pods", "-l", "name=held"])?;
    let running = pods.iter().find(|pod| pod["status"]["phase"] == "Running");
    let node = running.and_then(|pod| pod["spec"]["nodeName"].as_str());
    Ok(node
        .with_context(|| format!("the pod does not run: {pods:?}"))?
        .to_owned())
}

/// The zone of a node.
fn zone_of(node: &str) -> Result<String> {
    kubectl(&[
        "get",
        "node",
        node,
        "-o",
        r"jsonpath={.metadata.labels.topology\.kubernetes\.io/zone}",
    ])
}

/// Fails unless Karpenter reported an event whose note contains `note`, about an object whose name starts with `object`.
pub(super) fn reported(object: &str, note: &str) -> Result<()> {
    let events = items(&[
        "events.events.k8s.io",
        "-A",
        "--field-selector",
        "reportingController=karpenter",
    ])?;
    let about = |event: &&Value| {
        let name = event["regarding"]["name"].as_str();
        name.is_some_and(|name| name.starts_with(object))
    };
    let notes: BTreeSet<_> = events
        .iter()
        .filter(about)
        .filter_map(|event| event["note"].as_str())
        .collect();
    ensure!(
        notes.iter().any(|found| found.contains(note)),
        "about {object}: {notes:#?}"
    );
    Ok(())
}

#[test]
fn a_node_that_is_killed_under_load_is_replaced_and_so_are_those_of_a_zone() {
    check(start, || kill_a_node().and_then(|()| fail_a_zone()));
}

#[expect(
    clippy::disallowed_methods,
    reason = "the load runs for a while before the fault"
)]
fn kill_a_node() -> Result<()> {
    set_minimum(6)?;
    let added = eventually("six pods of app_a are ready, on more than one node", || {
        let added = serving(6)?;
        ensure!(!added.is_empty(), "no pod is on an added node");
        Ok(added)
    })?;
    let victim = added.first().context("no node")?;
    let process = first_process(victim)?;
    let url = format!("{URL}/hello");
    let load = [
        "run",
        &url,
        "-q",
        "100",
        "-z",
        LOAD,
        "--timeout",
        "2s",
        "--max-failed",
        "100%",
        "--json",
    ];
    let load = loadtest(&load)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // The load begins a moment after its process.
    let at = 5;
    sleep(Duration::from_secs(5));
    let killed = Instant::now();
    process.kill()?;
    let replaced = eventually("six pods are ready again", || {
        let added = serving(6)?;
        ensure!(!added.contains(victim), "{victim} is still Ready");
        Ok(killed.elapsed())
    });
    let output = command::wait(load, "loadtest run", COMMAND_DEADLINE)?;
    let replaced = replaced?;
    let report: Value = serde_json::from_slice(&output.stdout).with_context(|| text(&output))?;
    let intervals = report["intervals"].as_array().context("no intervals")?;
    let failed: Vec<_> = intervals
        .iter()
        .enumerate()
        .filter_map(|(second, interval)| {
            Some((second, interval["failed"].as_u64().filter(|count| *count > 0)?))
        })
        .collect();
    println!(
        "replaced after {replaced:?}; failed requests by second, killed after {at} s: {failed:?}; by kind: {}; examples: {}",
        report["failures"], report["failure_examples"]
    );
    ensure!(replaced < Duration::from_mins(1), "replaced after {replaced:?}");
    ensure!(
        failed
            .iter()
            .all(|(second, _)| (at - 2..at + FAILING_SECONDS_AFTER_A_KILL).contains(second)),
        "requests failed at other times: {failed:?}"
    );
    let sum: u64 = failed.iter().map(|(_, count)| count).sum();
    ensure!(sum <= FAILED_AFTER_A_KILL, "{sum} requests failed: {failed:?}");
    Ok(())
}

fn fail_a_zone() -> Result<()> {
    let added = eventually("six pods of app_a are ready", || serving(6))?;
    let zone = zone_of(added.first().context("no pod is on an added node")?)?;
    succeed(&mut xtask(&["cluster", "zone", "fail", &zone]))?;
    eventually("six pods are ready in the other zones", || {
        for node in serving(6)? {
            ensure!(zone_of(&node)? != zone, "{node} is in {zone}");
        }
        Ok(())
    })
}

#[test]
fn a_disruption_budget_blocks_the_removal_of_a_node_until_it_permits_it() {
    check(start, block_a_removal);
}

fn block_a_removal() -> Result<()> {
    kubectl(&[
        "create",
        "pdb",
        "held",
        "--selector=name=held",
        "--max-unavailable=0",
    ])?;
    apply_held()?;
    let node = eventually("the pod runs on an added node", node_of_held)?;
    eventually("Karpenter reports the budget", || reported("", "default/held"))?;
    ensure!(kubectl(&["get", "node", &node]).is_ok(), "{node} is gone");
    kubectl(&["delete", "deployment,pdb", "held"])?;
    eventually("the node is gone", || {
        ensure!(kubectl(&["get", "node", &node]).is_err(), "{node} is still there");
        Ok(())
    })
}

#[test]
fn a_node_that_never_joins_is_replaced_in_another_zone() {
    check(start_without_nodes, launch_a_node_that_never_joins);
}

fn launch_a_node_that_never_joins() -> Result<()> {
    // The zone of the next node: the first one without a node. Karpenter does not avoid it: the tests in which zones fail run later
    // (.config/nextest.toml).
    succeed(&mut xtask(&[
        "cluster",
        "zone",
        "fail",
        "testbed-b",
        "--mode=no-join",
    ]))?;
    apply_held()?;
    eventually("a node is launched in testbed-b", || {
        let claims = items(&["nodeclaims", "--selector=karpenter.sh/nodepool=default"])?;
        let is_there = |claim: &Value| claim.to_string().contains("testbed://testbed-b/");
        ensure!(claims.iter().any(is_there), "{claims:?}");
        Ok(())
    })?;
    let node = eventually("the pod runs", node_of_held)?;
    let zone = zone_of(&node)?;
    ensure!(zone != "testbed-b", "{node} has joined in {zone}");
    eventually("the claim of the node that does not join is gone", || {
        let claims = claims("default")?;
        ensure!(claims.len() == 1, "{claims:?}");
        Ok(())
    })
}
