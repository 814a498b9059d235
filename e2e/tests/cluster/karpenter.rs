//! Karpenter adds real nodes for pods without room, removes them again, and replaces nodes that fail.

mod faults;
mod limit;

use std::fs::File;

use anyhow::{Context as _, Result, ensure};
use e2e::{
    COMMAND_DEADLINE, PROOF_DEADLINE, image, kubectl, succeed, succeed_within, wait_for_rollouts,
    with_diagnostics, xtask,
};
use serde_json::Value;
use testbed::paths;

use crate::nodes::items;
use crate::policy::permissions::check;
use crate::report;

const OVERLAY: &str = "kubernetes/overlays/local-nodes";

#[test]
fn the_demo_scales_pods_and_nodes_out_and_in() {
    with_diagnostics(|| {
        succeed(&mut xtask(&["cluster", "down"]))?;
        let printed = succeed_within(PROOF_DEADLINE, &mut xtask(&["demo", "--nodes"]))?;
        println!("{printed}");
        let report: Value = serde_json::from_slice(&std::fs::read(report::path("scale", "json"))?)?;
        let run = &report["runs"][0];
        let nodes = &run["nodes"];
        ensure!(
            report["verdict"] == "passed" && run["step"]["requests"]["failed"] == 0,
            "{}",
            report["verdict"]
        );
        ensure!(
            nodes["before"]["nodes"] == 1 && nodes["end"]["nodes"] == 1,
            "{nodes}"
        );
        // The first node is in one of the three zones.
        let zones = nodes["ready_by_zone"].as_object().context("no zones")?;
        ensure!(zones.len() == 3, "ready nodes by zone: {zones:?}");
        // Stages of a pod on a new node: those of every pod, and those of its node.
        let pods = run["time_to_scale"][0]["pods"].as_array().context("no pods")?;
        let stages = |pod: &Value| pod["stages"].as_array().map_or(0, Vec::len);
        ensure!(
            pods.iter().any(|pod| stages(pod) == 14),
            "no pod has the stages of its new node: {pods:?}"
        );
        ensure!(items(&["nodeclaims"])?.is_empty(), "a claim is left");
        Ok(())
    });
}

/// Starts the cluster of the demo, with Karpenter, unless it is up. The demo runs first and leaves it.
fn start() -> Result<()> {
    // Two tests run at a time. Only one of them may start the cluster.
    let lock = File::create(paths::target().join("e2e-karpenter.lock"))?;
    lock.lock()?;
    if kubectl(&["get", "nodepool", "default"]).is_ok() {
        return Ok(());
    }
    succeed(&mut xtask(&["cluster", "down"]))?;
    succeed(&mut xtask(&["cluster", "up", "--control-plane-cpu=1400m"]))?;
    let archives = ["app-a", "app-b", "serving-cert"].map(image);
    succeed(xtask(&["cluster", "load"]).args(archives))?;
    succeed_within(COMMAND_DEADLINE, &mut xtask(&["cluster", "karpenter"]))?;
    succeed_within(COMMAND_DEADLINE, &mut xtask(&["cluster", "network-policy"]))?;
    kubectl(&["apply", "-k", OVERLAY])?;
    wait_for_rollouts()?;
    kubectl(&[
        "wait",
        "--for=condition=Ready",
        "nodepool/default",
        "--timeout=60s",
    ])
    .map(drop)
}

#[test]
fn karpenter_has_the_committed_permissions() {
    with_diagnostics(|| {
        start()?;
        check(
            include_str!("karpenter/permissions.txt"),
            "karpenter/permissions.txt",
            &[("karpenter", "karpenter"), ("karpenter", "default")],
            &["kube-system", "karpenter"],
        )
    });
}
