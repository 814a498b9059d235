//! The added nodes: their types and zones, and the messages of the node manager (JSON over HTTP/1.1).
//!
//! The node manager (`manager`) plays the part of a cloud: it launches and terminates instances, and knows nothing of pods.

mod catalog;
mod client;
pub mod commands;
pub(crate) mod request;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

pub(crate) use catalog::{EVICTION_MEMORY_MIB, Machine, reserved_cpu};
pub use catalog::{InstanceType, REGION, TYPES, ZONES, cpu_millis, cpu_quantity, instance_type};

/// The path of the node manager's socket, in the mount namespace of the first node. Pods of that node mount the folder.
pub const SOCKET: &str = "/run/testbed/nodes.sock";
/// The group that may use the socket: that of Karpenter's pod, which does not run as root.
pub const SOCKET_GROUP: u32 = 65_532;

/// The body of `POST /nodes`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewNode {
    /// The name of the node: a DNS label.
    pub name: String,
    /// One of [`ZONES`].
    pub zone: String,
    /// The name of one of [`TYPES`].
    #[serde(rename = "type")]
    pub instance_type: String,
    /// Labels of the Node object, in addition to [`labels`].
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Taints of the Node object.
    #[serde(default)]
    pub taints: Vec<Taint>,
}

/// A taint, with the names of the Kubernetes API.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Taint {
    /// The key.
    pub key: String,
    /// The value. Empty means none.
    #[serde(default)]
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

/// Parses `KEY=VALUE:EFFECT` or `KEY:EFFECT`, as in `kubectl taint`.
///
/// # Errors
/// When the text has another form.
pub fn parse_taint(text: &str) -> Result<Taint> {
    let (key, effect) = text
        .split_once(':')
        .context("a taint is KEY=VALUE:EFFECT or KEY:EFFECT")?;
    let (key, value) = key.split_once('=').unwrap_or((key, ""));
    Ok(Taint {
        key: key.to_owned(),
        value: value.to_owned(),
        effect: effect.to_owned(),
    })
}

/// Parses the label `KEY=VALUE`.
///
/// # Errors
/// When the text has another form.
pub fn parse_label(text: &str) -> Result<(String, String)> {
    let (key, value) = text.split_once('=').context("a label is KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// An added node, as the node manager describes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Node {
    /// What the request asked for.
    #[serde(flatten)]
    pub request: NewNode,
    /// `spec.providerID` of the Node object.
    #[serde(rename = "providerID")]
    pub provider_id: String,
    /// The IPv4 address.
    pub address: String,
    /// How far the node is.
    pub state: State,
    /// Why the node failed. Otherwise empty.
    pub message: String,
    /// The process ID of the node's first process, in the PID namespace of the cluster.
    pub process: i32,
    /// The time of the launch (RFC 3339).
    pub created: String,
}

/// How far a node is. A node that has stopped is not listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Launched. It has not joined the cluster yet.
    Starting,
    /// kubeadm has joined it to the cluster.
    Joined,
    /// It runs, and cannot join the cluster.
    Failed,
}

/// A zone, and its fault.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Zone {
    /// One of [`ZONES`].
    pub name: String,
    /// `None`: the zone works.
    pub fault: Option<Fault>,
}

/// A fault of a zone, for tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The nodes of the zone are killed, and no new ones start.
    Down,
    /// New nodes start, and never join the cluster.
    NoJoin,
}

/// The body of `PUT /zones/ZONE`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct NewFault {
    /// `None` restores the zone.
    pub fault: Option<Fault>,
}

/// The body of each error.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Problem {
    /// What is wrong, and what is valid.
    pub message: String,
}

/// The labels that each node has, the first one too.
#[must_use]
pub fn labels(zone: &str, instance_type: &str) -> BTreeMap<String, String> {
    [
        ("topology.kubernetes.io/zone", zone),
        ("topology.kubernetes.io/region", REGION),
        ("node.kubernetes.io/instance-type", instance_type),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// `spec.providerID` of a node.
#[must_use]
pub fn provider_id(zone: &str, name: &str) -> String {
    format!("testbed://{zone}/{name}")
}
