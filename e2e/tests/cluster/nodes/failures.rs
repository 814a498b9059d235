//! Nodes that are drained, removed or killed, and zones that fail: pods are replaced, and nothing of a node is left.

use std::process::{Child, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use e2e::{
    COMMAND_DEADLINE, apply, deploy, eventually, kubectl, kubectl_within, loadtest, output, succeed, text,
    with_diagnostics, xtask,
};
use testbed::{command, versions};

use super::{address, first_process, items, nothing_is_left, ready, set_minimum, start};
use crate::machine::machine_state;
use crate::processes::{Namespace, Process};

/// The number of a node: the last part of its address.
fn number(name: &str) -> Result<u8> {
    let nodes = items(&["nodes"])?;
    let node = nodes.iter().find(|node| node["metadata"]["name"] == name);
    let address = address(node.with_context(|| format!("no node {name}"))?)?;
    Ok(address.octets()[3])
}

/// The processes of an added node.
fn processes_of(name: &str) -> Result<Vec<Process>> {
    let first = first_process(name)?;
    Namespace::of_process(first.id)?.processes()
}

/// Starts a command of the testbed that adds a node, and that a test interrupts.
fn spawn(arguments: &[&str]) -> Result<Child> {
    let mut command = xtask(arguments);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Ok(command.spawn()?)
}

/// Waits until a command of [`spawn`] exits. Fails unless it says that its node, or the cluster, has stopped.
fn stops(adding: Child, arguments: &[&str]) -> Result<()> {
    let output = command::wait(adding, &arguments.join(" "), COMMAND_DEADLINE)?;
    ensure!(
        !output.status.success() && text(&output).contains("has stopped"),
        "{}: {}",
        output.status,
        text(&output)
    );
    Ok(())
}

#[test]
fn a_drain_under_load_loses_no_request_and_a_removed_node_leaves_nothing() {
    with_diagnostics(|| {
        start()?;
        deploy()?;
        let outcome = drain_under_load();
        // Later tests need the minimum of the overlay and every node, also after a failure.
        let uncordoned = kubectl(&["uncordon", "--selector=kubernetes.io/os=linux"]).map(drop);
        outcome.and(set_minimum(2)).and(uncordoned)
    });
}

fn drain_under_load() -> Result<()> {
    // Enough pods for every node.
    set_minimum(4)?;
    let node = eventually("a pod of app_a is on an added node, and four are ready", || {
        let pods = items(&["pods", "-n", "sample-app", "-l", "app.kubernetes.io/name=app-a"])?;
        let ready = pods.iter().filter(|pod| ready(pod) == Some("True"));
        ensure!(ready.count() == 4, "not four pods are ready");
        let nodes = pods.iter().filter_map(|pod| pod["spec"]["nodeName"].as_str());
        let added = nodes.into_iter().find(|node| node.starts_with("node-"));
        Ok(added.context("all pods are on the first node")?.to_owned())
    })?;
    let number = number(&node)?;
    let processes = processes_of(&node)?;
    // The test counts requests. A generator that sends late on a busy machine loses none.
    let load = [
        "run",
        "http://127.0.0.1:30080/hello",
        "-q",
        "100",
        "-z",
        "30s",
        "--max-lag",
        "1s",
    ];
    let load = loadtest(&load)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let drained = kubectl_within(
        COMMAND_DEADLINE,
        &[
            "drain",
            &node,
            "--ignore-daemonsets",
            "--delete-emptydir-data",
            "--timeout=120s",
        ],
    );
    let load = command::wait(load, "loadtest run", COMMAND_DEADLINE);
    drained?;
    let load = load?;
    ensure!(
        load.status.success() && text(&load).contains("0 failed"),
        "the drain lost requests: {}",
        text(&load)
    );
    succeed(&mut xtask(&["cluster", "node", "remove", &node]))?;
    Process::all_gone(&processes)?;
    nothing_is_left(&node, number)?;
    ensure!(
        kubectl(&["get", "node", &node]).is_err(),
        "the Node object is left"
    );
    Ok(())
}

#[test]
fn the_pods_of_a_killed_node_are_replaced_and_the_node_can_come_back() {
    with_diagnostics(|| {
        start()?;
        let outcome = replace_the_pods_of_a_killed_node();
        // Later tests need its room, also after a failure.
        let delete = ["delete", "deployment", "movable", "--ignore-not-found"];
        outcome.and(kubectl(&delete).map(drop))
    });
}

fn replace_the_pods_of_a_killed_node() -> Result<()> {
    // Tolerates an unreachable node for 1 s. The default is 5 minutes.
    apply(
        &r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: movable, namespace: default}
spec:
  selector: {matchLabels: {name: movable}}
  template:
    metadata: {labels: {name: movable}}
    spec:
      terminationGracePeriodSeconds: 0
      affinity:
        nodeAffinity:
          preferredDuringSchedulingIgnoredDuringExecution:
          - weight: 100
            preference: {matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [node-3]}]}
      tolerations:
      - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 1}
      - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 1}
      containers: [{name: pause, image: "registry.k8s.io/pause:PAUSE"}]
"#
        .replace("PAUSE", versions::PAUSE),
    )?;
    eventually("the pod runs on node-3", || runs(|node| node == "node-3"))?;
    let (number, processes) = (number("node-3")?, processes_of("node-3")?);
    first_process("node-3")?.kill()?;
    eventually("no process of the node is left", || Process::all_gone(&processes))?;
    eventually("nothing of the node is left", || {
        nothing_is_left("node-3", number)
    })?;
    let listed = succeed(&mut xtask(&["cluster", "node", "list"]))?;
    ensure!(!listed.contains("node-3"), "{listed}");
    eventually("the node is not Ready", || {
        let nodes = items(&["nodes"])?;
        let node = nodes.iter().find(|node| node["metadata"]["name"] == "node-3");
        ensure!(node.and_then(ready) == Some("Unknown"), "{node:?}");
        Ok(())
    })?;
    eventually("the pod runs on another node", || runs(|node| node != "node-3"))?;
    start()?;
    let nodes = items(&["nodes"])?;
    for node in &nodes {
        ensure!(ready(node) == Some("True"), "{node}");
    }
    Ok(())
}

/// Fails unless a pod of the Deployment `movable` runs on such a node.
fn runs(is_wanted: impl Fn(&str) -> bool) -> Result<()> {
    let pods = items(&["pods", "--selector=name=movable"])?;
    let runs = pods.iter().any(|pod| {
        pod["status"]["phase"] == "Running"
            && pod["metadata"]["deletionTimestamp"].is_null()
            && pod["spec"]["nodeName"].as_str().is_some_and(&is_wanted)
    });
    ensure!(runs, "{pods:?}");
    Ok(())
}

#[test]
fn a_zone_that_is_down_has_no_nodes_and_one_without_joins_gets_no_ready_node() {
    with_diagnostics(|| {
        start()?;
        let outcome = zone_b_down().and_then(|()| zone_b_without_joins());
        // Later tests need the zone, also after a failure. `start` brings back node-2, whose Node object is still there.
        let restored =
            succeed(&mut xtask(&["cluster", "zone", "restore", "testbed-b"])).and_then(|_| start());
        outcome.and(restored)
    });
}

/// Adds a node in the zone that fails.
const ADD_LATE: [&str; 6] = [
    "cluster",
    "node",
    "add",
    "late",
    "--zone=testbed-b",
    "--type=small",
];

fn zone_b_down() -> Result<()> {
    succeed(&mut xtask(&["cluster", "zone", "fail", "testbed-b"]))?;
    let listed = succeed(&mut xtask(&["cluster", "node", "list"]))?;
    ensure!(!listed.contains("testbed-b"), "{listed}");
    let refused = output(&mut xtask(&ADD_LATE))?;
    ensure!(
        !refused.status.success() && text(&refused).contains("zone testbed-b is down"),
        "{}",
        text(&refused)
    );
    Ok(())
}

fn zone_b_without_joins() -> Result<()> {
    let fail = ["cluster", "zone", "fail", "testbed-b", "--mode=no-join"];
    succeed(&mut xtask(&fail))?;
    let adding = spawn(&ADD_LATE)?;
    let outcome = late_runs_and_does_not_join();
    // The command exits when its node is removed.
    let removed = succeed(&mut xtask(&["cluster", "node", "remove", "late"])).map(drop);
    let stopped = stops(adding, &ADD_LATE);
    outcome.and(removed).and(stopped)
}

fn late_runs_and_does_not_join() -> Result<()> {
    eventually("the node starts, and containerd runs in it", || {
        let processes = processes_of("late")?;
        let runs = processes.iter().any(|process| process.name == "containerd");
        ensure!(runs, "{processes:?}");
        Ok(())
    })?;
    let listed = succeed(&mut xtask(&["cluster", "node", "list"]))?;
    let late = listed.lines().find(|line| line.starts_with("late "));
    ensure!(late.is_some_and(|line| line.contains("starting")), "{listed}");
    ensure!(kubectl(&["get", "node", "late"]).is_err(), "the node has joined");
    Ok(())
}

#[test]
fn whatever_is_killed_nothing_is_left() {
    with_diagnostics(|| {
        succeed(&mut xtask(&["cluster", "down"]))?;
        let before = machine_state()?;
        succeed(&mut xtask(&["cluster", "up", "--nodes=2", "--type=small"]))?;
        let (number, processes) = (number("node-2")?, processes_of("node-2")?);
        // The nodes stop with their owner, and a new owner starts.
        Namespace::of_the_cluster()?.kill_all("node-manager")?;
        eventually("no process of the node is left", || Process::all_gone(&processes))?;
        eventually("nothing of the node is left", || {
            nothing_is_left("node-2", number)
        })?;
        eventually("the new node manager has no node", || {
            let listed = succeed(&mut xtask(&["cluster", "node", "list"]))?;
            ensure!(!listed.contains("node-2"), "{listed}");
            Ok(())
        })?;
        succeed(&mut xtask(&["cluster", "up", "--nodes=2", "--type=small"]))?;

        // While a node starts.
        let up = ["cluster", "up", "--nodes=3", "--type=small"];
        let adding = spawn(&up)?;
        let outcome = kill_the_cluster_when_node_3_starts();
        if outcome.is_err() {
            // Ends the command, too.
            let _ = output(&mut xtask(&["cluster", "down"]));
        }
        outcome.and(stops(adding, &up))?;
        succeed(&mut xtask(&["cluster", "down"]))?;
        let after = machine_state()?;
        ensure!(
            before == after,
            "the machine changed.\nbefore:\n{before}\nafter:\n{after}"
        );
        Ok(())
    });
}

fn kill_the_cluster_when_node_3_starts() -> Result<()> {
    eventually("node-3 starts", || first_process("node-3"))?;
    let namespace = Namespace::of_the_cluster()?;
    let processes = namespace.with_nodes()?;
    if processes.len() < 20 {
        bail!("only these processes are running: {processes:?}");
    }
    namespace.kill_unshare()?;
    eventually("no process is left", || Process::all_gone(&processes))
}
