//! A `NodePool` at its limit: no further node, an event, an alert, and more nodes once the limit permits them.
//!
//! The pool is the test's own, so that the test runs beside others: its alert takes a minute.

use anyhow::{Context as _, Result, ensure};
use e2e::{apply, eventually, kubectl, with_diagnostics};
use serde_json::{Value, json};
use testbed::versions;

use super::faults::{claims, reported};
use super::start;
use crate::nodes::items;
use crate::prometheus;

/// The name of the pool.
const POOL: &str = "limited";

#[test]
fn a_pool_at_its_limit_adds_no_node_and_says_why() {
    with_diagnostics(|| {
        start()?;
        let outcome = reach_the_limit();
        outcome.and(remove_the_pool())
    });
}

/// Applies a copy of the committed pool with a limit of one node. Only the pods of [`apply_pods`] tolerate its taint.
fn apply_pool() -> Result<()> {
    let committed = kubectl(&["get", "nodepool", "default", "-o", "json"])?;
    let mut pool: Value = serde_json::from_str(&committed)?;
    let spec = &mut pool["spec"];
    spec["limits"] = json!({ "nodes": "1" });
    let template = &mut spec["template"]["spec"];
    template["taints"] = json!([{ "key": "pool", "value": POOL, "effect": "NoSchedule" }]);
    // The zone of the first node: the other tests expect their nodes in the other zones.
    let zone = json!({ "key": "topology.kubernetes.io/zone", "operator": "In", "values": ["testbed-a"] });
    let requirements = template["requirements"].as_array_mut();
    requirements.context("no requirements")?.push(zone);
    let copy = json!({
        "apiVersion": pool["apiVersion"],
        "kind": pool["kind"],
        "metadata": { "name": POOL },
        "spec": pool["spec"],
    });
    apply(&copy.to_string())
}

/// Three pods, of which each needs a node of its own.
fn apply_pods() -> Result<()> {
    let manifest = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: limited, namespace: default}
spec:
  replicas: 3
  selector: {matchLabels: {name: limited}}
  template:
    metadata: {labels: {name: limited}}
    spec:
      terminationGracePeriodSeconds: 0
      nodeSelector: {karpenter.sh/nodepool: limited}
      tolerations: [{key: pool, operator: Equal, value: limited}]
      affinity:
        podAntiAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
          - {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {name: limited}}}
      containers:
      - {name: pause, image: "registry.k8s.io/pause:PAUSE", resources: {requests: {cpu: 100m}}}
"#;
    apply(&manifest.replace("PAUSE", versions::PAUSE))
}

/// Fails unless so many of the pods run.
fn running(wanted: usize) -> Result<()> {
    let pods = items(&["pods", "--selector=name=limited"])?;
    let running = pods.iter().filter(|pod| pod["status"]["phase"] == "Running");
    ensure!(running.count() == wanted, "{pods:?}");
    Ok(())
}

/// Fails unless Prometheus reports a firing alert for the number of nodes of the pool.
fn alerted() -> Result<()> {
    let query =
        r#"ALERTS{alertname="NodePoolAtLimit",nodepool="limited",resource_type="nodes",alertstate="firing"}"#;
    let value = prometheus::query(query)?;
    ensure!(value > 0.0, "{query} is {value}");
    Ok(())
}

fn reach_the_limit() -> Result<()> {
    apply_pool()?;
    apply_pods()?;
    eventually("Karpenter reports the limit for a pod of the test", || {
        reported("limited-", "limits have been exhausted")
    })?;
    // The rule waits for a minute, in which Karpenter attempts more.
    eventually("Prometheus reports the limit", alerted)?;
    let claims = claims(POOL)?;
    ensure!(claims.len() == 1, "claims at the limit of one node: {claims:?}");
    running(1)?;
    kubectl(&[
        "patch",
        "nodepool",
        POOL,
        "--type=merge",
        r#"--patch={"spec":{"limits":{"nodes":"3"}}}"#,
    ])?;
    eventually("the three pods run", || running(3))
}

/// Removes the pool and its nodes, also after a failure.
fn remove_the_pool() -> Result<()> {
    kubectl(&["delete", "deployment/limited", "--ignore-not-found"])?;
    kubectl(&["delete", "nodepool", POOL, "--ignore-not-found"])?;
    eventually("the nodes of the pool are gone", || {
        let claims = claims(POOL)?;
        ensure!(claims.is_empty(), "{claims:?}");
        Ok(())
    })
}
