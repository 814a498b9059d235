//! Brings manifests onto a cluster, and waits until they run.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::cluster::Cluster;
use super::guard::{Ended, Guard};
use super::outcome::Stop;

/// The deadline of `kubectl apply`. It takes seconds.
const APPLY: Duration = Duration::from_mins(3);

/// The deadline of a rollout, as a flag of kubectl. A new pod may need a new node, and a launch that fails is given up after 5 minutes. A
/// rollout that is stuck ends earlier, by the `progressDeadlineSeconds` of its Deployment.
const ROLLOUT_FLAG: &str = "--timeout=15m";

/// The deadline of kubectl with [`ROLLOUT_FLAG`].
const ROLLOUT: Duration = Duration::from_mins(16);

/// Why manifests do not run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// `kubectl apply` failed. Some of the objects may be new.
    Apply(String),
    /// A Deployment did not become available.
    Rollout(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Apply(reason) => write!(formatter, "kubectl apply: {reason}"),
            Self::Rollout(reason) => formatter.write_str(reason),
        }
    }
}

/// Deploys a file of manifests, and waits until every Deployment in it runs with its new pods. Returns why it does not.
///
/// Both a release and a rollback are deployed by this function alone. The canary before a release is in [`super::canary`].
///
/// # Errors
/// A [`Stop`] alone.
pub(super) fn deploy(guard: &Guard<'_>, cluster: &Cluster, manifests: &Path) -> Result<Option<Failure>> {
    let mut apply = cluster.kubectl();
    apply
        .args(["apply", "--output=json", "--filename"])
        .arg(manifests);
    let applied = match failure(guard.run(&mut apply, APPLY))? {
        Ok(ended) => ended.stdout,
        Err(reason) => return Ok(Some(Failure::Apply(reason))),
    };
    let deployments = match deployments(&applied) {
        Ok(deployments) => deployments,
        Err(error) => return Ok(Some(Failure::Rollout(format!("{error:#}")))),
    };
    for (namespace, name) in deployments {
        let mut status = cluster.kubectl();
        status.args(["rollout", "status", ROLLOUT_FLAG, "--namespace", &namespace]);
        status.arg(format!("deployment/{name}"));
        if let Err(reason) = failure(guard.run(&mut status, ROLLOUT))? {
            return Ok(Some(Failure::Rollout(format!("{namespace}/{name}: {reason}"))));
        }
    }
    Ok(None)
}

/// Returns a command that succeeded, or why it did not. Only a [`Stop`] says nothing about what is deployed.
fn failure(result: Result<Ended>) -> Result<Result<Ended, String>> {
    match result {
        Ok(ended) if ended.status.success() => Ok(Ok(ended)),
        Ok(ended) => Ok(Err(ended.stderr.trim().to_owned())),
        Err(error) if error.is::<Stop>() => Err(error),
        Err(error) => Ok(Err(format!("{error:#}"))),
    }
}

/// The Deployments in the output of `kubectl apply`: a list, or a single object.
fn deployments(applied: &str) -> Result<Vec<(String, String)>> {
    let output: Value = serde_json::from_str(applied).context("kubectl apply prints no JSON")?;
    let single = std::slice::from_ref(&output);
    let objects = output["items"].as_array().map_or(single, Vec::as_slice);
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let found = objects
        .iter()
        .filter(|object| object["kind"] == "Deployment")
        .map(|object| {
            let metadata = &object["metadata"];
            let namespace = text(&metadata["namespace"]).unwrap_or_else(|| "default".to_owned());
            Ok((
                namespace,
                text(&metadata["name"]).context("a Deployment without a name")?,
            ))
        });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deployments_are_found_in_a_list_and_in_a_single_object() {
        let list = r#"{"kind": "List", "items": [
            {"kind": "Namespace", "metadata": {"name": "sample-app"}},
            {"kind": "Deployment", "metadata": {"name": "app-a", "namespace": "sample-app"}}]}"#;
        let pair = |namespace: &str, name: &str| (namespace.to_owned(), name.to_owned());
        assert_eq!(deployments(list).unwrap(), [pair("sample-app", "app-a")]);
        let single = r#"{"kind": "Deployment", "metadata": {"name": "app-b"}}"#;
        assert_eq!(deployments(single).unwrap(), [pair("default", "app-b")]);
        assert!(deployments("deployment.apps/app-a created").is_err());
    }

    #[test]
    fn only_a_stop_is_no_judgement_of_the_release() {
        let judged = failure(Err(anyhow::anyhow!("has not finished within 180 s")));
        assert!(judged.unwrap().err().unwrap().contains("180 s"));
        let stop = failure(Err(Stop::Signal(2).into()));
        assert_eq!(stop.err().unwrap().downcast_ref(), Some(&Stop::Signal(2)));
    }
}
