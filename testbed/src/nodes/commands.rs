//! The commands for added nodes and zones.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use hyper::{Method, StatusCode};

use super::client::{Refused, call};
use super::{Fault, NewFault, NewNode, Node, State, ZONES, Zone, request};
use crate::sandbox::Sandbox;
use crate::{cluster, progress, wait};

/// How long nodes may take to become Ready. One takes a few seconds on an idle machine.
const READY: Duration = Duration::from_mins(3);

/// The deadline of a kubectl that deletes a Node object.
const DELETION: Duration = Duration::from_secs(30);

/// The type of the nodes that [`complete`] adds by default.
const DEFAULT_TYPE: &str = "medium";

/// Adds nodes `node-2` to `node-N` that do not exist, in turn in the first `zones` zones, and waits until all are Ready.
///
/// `instance_type` is the type of all of them. `None`: that of each existing node, and `medium` for the new ones.
///
/// # Errors
/// When the cluster is not up, a node exists with another type, cannot be launched, or does not become Ready.
pub fn complete(count: u8, zones: u8, instance_type: Option<&str>) -> Result<()> {
    let zones = usize::from(zones);
    ensure!(
        (1..=ZONES.len()).contains(&zones),
        "{zones} zones: there are 1 to {}",
        ZONES.len()
    );
    let sandbox = cluster::running_sandbox()?;
    let wanted: Vec<_> = (2..=usize::from(count))
        .map(|number| NewNode {
            name: format!("node-{number}"),
            // The first node is in the first zone.
            zone: ZONES[(number - 1) % zones].to_owned(),
            instance_type: instance_type.unwrap_or(DEFAULT_TYPE).to_owned(),
            labels: [].into(),
            taints: Vec::new(),
        })
        .collect();
    let existing = existing(sandbox)?;
    let find = |name: &str| existing.iter().find(|node| node.request.name == name);
    for running in wanted.iter().filter_map(|node| find(&node.name)) {
        check_type(&running.request, instance_type)?;
    }
    let (present, missing): (Vec<_>, Vec<_>) =
        wanted.into_iter().partition(|node| find(&node.name).is_some());
    if !missing.is_empty() {
        add(&missing)?;
    }
    present
        .iter()
        .try_for_each(|node| wait_until_ready(sandbox, &node.name))
}

/// Fails if a running node has another type than `instance_type`.
fn check_type(running: &NewNode, instance_type: Option<&str>) -> Result<()> {
    let (name, existing) = (&running.name, &running.instance_type);
    if let Some(wanted) = instance_type.filter(|wanted| wanted != existing) {
        bail!(
            "node {name} of the running cluster has the type {existing}, not {wanted}: remove it first, with \
             `cargo xtask cluster node remove {name}`"
        );
    }
    Ok(())
}

/// Adds nodes, and waits until they are Ready.
///
/// # Errors
/// When a request is invalid: then no node is added. When the cluster is not up, a node cannot be launched, or does not become Ready.
pub fn add(nodes: &[NewNode]) -> Result<()> {
    for node in nodes {
        request::check(node)?;
    }
    let sandbox = cluster::running_sandbox()?;
    let names: Vec<_> = nodes.iter().map(|node| node.name.as_str()).collect();
    progress::step(&format!("add {}", names.join(", ")), || {
        let existing = existing(sandbox)?;
        for node in nodes {
            if existing.iter().all(|other| other.request.name != node.name) {
                // Delete the Node object of a killed node: kubeadm joins no node while a Ready one has its name.
                delete_object(&node.name)?;
            }
            let _: Node = call(sandbox, Method::POST, "/nodes", Some(serde_json::to_value(node)?))?;
        }
        names.iter().try_for_each(|name| wait_until_ready(sandbox, name))
    })
}

fn wait_until_ready(sandbox: Sandbox, name: &str) -> Result<()> {
    let failure = wait::until(&format!("node {name} is Ready"), READY, || {
        if Sandbox::find()?.is_none() {
            return Ok(Some("the cluster has stopped".to_owned()));
        }
        let nodes = existing(sandbox)?;
        let Some(node) = nodes.into_iter().find(|node| node.request.name == name) else {
            return Ok(Some(format!(
                "it has stopped (`cargo xtask cluster logs nodes/{name}/init`)"
            )));
        };
        match node.state {
            State::Failed => {
                let message = node.message;
                return Ok(Some(format!(
                    "{message}\nremove it with `cargo xtask cluster node remove {name}`"
                )));
            }
            State::Starting => bail!("it has not joined the cluster yet"),
            State::Joined => {}
        }
        cluster::check_ready(name)
            .with_context(|| format!("see `cargo xtask cluster logs nodes/{name}/kubelet`"))?;
        Ok(None)
    })?;
    match failure {
        None => Ok(()),
        Some(failure) => bail!("node {name}: {failure}"),
    }
}

/// Stops a node, and deletes its Node object. Does not drain it. Of a node that has stopped, deletes the Node object.
///
/// # Errors
/// When the name is not that of an added node, the cluster is not up, or there is neither such a node nor its Node object.
pub fn remove(name: &str) -> Result<()> {
    request::check_name(name)?;
    let sandbox = cluster::running_sandbox()?;
    progress::step(&format!("remove {name}"), || {
        let removed = call::<Node>(sandbox, Method::DELETE, &format!("/nodes/{name}"), None);
        let is_missing = |error: &anyhow::Error| {
            let refused = error.downcast_ref::<Refused>();
            refused.is_some_and(|refused| refused.status == StatusCode::NOT_FOUND)
        };
        match removed {
            Ok(_) => delete_object(name).map(drop),
            Err(error) if is_missing(&error) => {
                let had_object = delete_object(name)?;
                if had_object { Ok(()) } else { Err(error) }
            }
            Err(error) => Err(error),
        }
    })
}

/// Deletes the Node object of an added node. Returns whether there was one.
fn delete_object(name: &str) -> Result<bool> {
    let mut delete = cluster::kubectl();
    delete.args([
        "delete",
        "node",
        name,
        "--ignore-not-found",
        "--request-timeout=20s",
    ]);
    // kubectl prints the names of deleted objects.
    Ok(!progress::run_within(DELETION, &mut delete)?.trim().is_empty())
}

/// Prints the added nodes.
///
/// # Errors
/// When the cluster is not up.
pub fn list() -> Result<()> {
    println!(
        "{:<16}{:<12}{:<10}{:<15}{:<10}CREATED",
        "NAME", "ZONE", "TYPE", "ADDRESS", "STATE"
    );
    for Node {
        request,
        address,
        state,
        message,
        created,
        ..
    } in existing(cluster::running_sandbox()?)?
    {
        let state = format!("{state:?}").to_lowercase();
        println!(
            "{:<16}{:<12}{:<10}{address:<15}{state:<10}{created} {message}",
            request.name, request.zone, request.instance_type
        );
    }
    Ok(())
}

/// Sets or clears the fault of a zone. With [`Fault::Down`], the nodes of the zone are gone afterwards.
///
/// # Errors
/// When the cluster is not up, or there is no such zone.
pub fn set_fault(zone: &str, fault: Option<Fault>) -> Result<()> {
    let body = serde_json::to_value(NewFault { fault })?;
    let path = format!("/zones/{zone}");
    let _: Zone = call(cluster::running_sandbox()?, Method::PUT, &path, Some(body))?;
    Ok(())
}

/// The added nodes.
fn existing(sandbox: Sandbox) -> Result<Vec<Node>> {
    call(sandbox, Method::GET, "/nodes", None)
}
