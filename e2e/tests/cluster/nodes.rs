//! Added nodes: real ones, with kubelets, containers and networks of their own, in three zones.

mod failures;
mod network;
mod shape;

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};
use e2e::{kubectl, succeed, xtask};
use serde_json::Value;

use crate::processes::{Namespace, Process};

/// The nodes of the cluster that most tests share.
const NODES: [&str; 4] = ["testbed", "node-2", "node-3", "node-4"];

/// Starts the cluster if necessary, and adds the nodes that are missing.
fn start() -> Result<()> {
    succeed(&mut xtask(&[
        "cluster",
        "up",
        "--nodes=4",
        "--zones=3",
        "--type=small",
    ]))
    .map(drop)
}

/// Objects of the cluster: the items of `kubectl get ARGUMENTS`.
pub(crate) fn items(arguments: &[&str]) -> Result<Vec<Value>> {
    let list = kubectl(&[&["get", "-o", "json"], arguments].concat())?;
    let mut list: Value = serde_json::from_str(&list)?;
    serde_json::from_value(list["items"].take()).context("no list")
}

/// The status of the condition Ready of a node or a pod: True, False or Unknown.
pub(crate) fn ready(object: &Value) -> Option<&str> {
    let conditions = object["status"]["conditions"].as_array()?;
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready")?;
    ready["status"].as_str()
}

/// Sets the minimum of the replicas of `app_a`.
pub(crate) fn set_minimum(replicas: u32) -> Result<()> {
    let patch = format!(r#"{{"spec":{{"minReplicas":{replicas}}}}}"#);
    kubectl(&["-n", "sample-app", "patch", "hpa", "app-a", "--patch", &patch]).map(drop)
}

/// The IPv4 address of a node.
fn address(node: &Value) -> Result<Ipv4Addr> {
    let addresses = node["status"]["addresses"].as_array().context("no addresses")?;
    let internal = addresses.iter().find(|address| address["type"] == "InternalIP");
    let internal = internal.and_then(|address| address["address"].as_str());
    Ok(internal.context("no InternalIP")?.parse()?)
}

/// The first process of an added node.
pub(crate) fn first_process(node: &str) -> Result<Process> {
    let mut processes = Namespace::of_the_cluster()?.with_nodes()?;
    processes
        .retain(|process| process.name == "init-node" && process.arguments().contains(&format!(" {node} ")));
    let first = processes.pop();
    first.with_context(|| format!("node {node} has no first process"))
}

/// Fails as long as the first node or the machine has something of an added node, whose number is the last part of its address.
fn nothing_is_left(node: &str, number: u8) -> Result<()> {
    let links = succeed(&mut xtask(&["cluster", "exec", "--", "ip", "-brief", "link"]))?;
    ensure!(
        !links.contains(&format!("node{number}")),
        "a link of {node} is left: {links}"
    );
    let state = testbed::paths::node_state(node);
    ensure!(!state.exists(), "{} is left", state.display());
    let name = testbed::cgroup::node_name(node);
    let root = std::path::Path::new("/sys/fs/cgroup");
    let hierarchies = std::fs::read_dir(root)?.flatten().map(|entry| entry.path());
    for cgroup in hierarchies.chain([root.into()]).map(|path| path.join(&name)) {
        ensure!(!cgroup.exists(), "{} is left", cgroup.display());
    }
    Ok(())
}
