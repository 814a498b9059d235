//! The test `apply`: runs `kubectl apply -k`, and waits until every Deployment that it applied is available.

use std::{path::PathBuf, process::Stdio, time::Duration};

use serde::Deserialize;
use tokio::{
    process::Command,
    time::{Instant, sleep, timeout_at},
};

use super::outcome::Judgement;
use crate::cluster::Cluster;

/// The time between two looks at the Deployments.
const POLL: Duration = Duration::from_secs(1);

/// The number of lines of kubectl's standard error in a report.
const SHOWN_LINES: usize = 20;

/// What is applied, and how.
#[derive(Clone, Debug)]
pub struct ApplyOptions {
    /// The program kubectl.
    pub kubectl: PathBuf,
    /// The folder with the overlay.
    pub overlay: PathBuf,
    /// The context of the kubeconfig; `None` for the current one.
    pub context: Option<String>,
}

/// A Deployment that kubectl applied.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Applied {
    namespace: String,
    name: String,
}

/// Applies the overlay, and waits for its Deployments.
pub async fn apply(cluster: &Cluster, options: &ApplyOptions, deadline: Instant) -> Judgement {
    let applied = match run(options, deadline).await {
        Ok(applied) => applied,
        Err(judgement) => return judgement,
    };
    if applied.is_empty() {
        return Judgement::failed(
            "the overlay contains no Deployment",
            format!("kubectl apply -k {} exits with 0", options.overlay.display()),
        );
    }
    let names: Vec<String> = applied
        .iter()
        .map(|found| format!("{}/{}", found.namespace, found.name))
        .collect();
    let mut missing = Vec::new();
    let started = Instant::now();
    loop {
        let mut stuck = false;
        missing.clear();
        for found in &applied {
            if let Some((reason, is_stuck)) = unavailable(cluster, found).await {
                stuck |= is_stuck;
                missing.push(format!("{}/{}: {reason}", found.namespace, found.name));
            }
        }
        let seen = |judged: Judgement| {
            #[expect(clippy::cast_precision_loss, reason = "a few Deployments")]
            let count = applied.len() as f64;
            judged
                .with("Deployments", count, "")
                .with("rollout", started.elapsed().as_secs_f64(), "s")
        };
        if missing.is_empty() {
            let text = format!(
                "kubectl apply exits with 0; available: {}; after {:.1} s",
                names.join(", "),
                started.elapsed().as_secs_f64()
            );
            return seen(Judgement::passed(text));
        }
        if stuck || Instant::now() + POLL > deadline {
            let count = missing.len();
            let reason = format!("{count} of {} Deployments are not available", applied.len());
            return seen(Judgement::failed(reason, missing.join("; ")));
        }
        sleep(POLL).await;
    }
}

/// Runs kubectl, and returns the Deployments that it applied.
async fn run(options: &ApplyOptions, deadline: Instant) -> Result<Vec<Applied>, Judgement> {
    let ApplyOptions {
        kubectl,
        overlay,
        context,
    } = options;
    let mut command = Command::new(kubectl);
    if let Some(context) = context {
        command.args(["--context", context]);
    }
    command
        .args(["apply", "--output", "json", "--kustomize"])
        .arg(overlay)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let shown = format!("kubectl apply -k {}", overlay.display());
    let output = match timeout_at(deadline, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => {
            let reason = format!("{} cannot be started (--kubectl)", kubectl.display());
            return Err(Judgement::failed(reason, error.to_string()));
        }
        Err(_) => return Err(Judgement::failed(format!("{shown} did not exit"), String::new())),
    };
    if !output.status.success() {
        let reason = match output.status.code() {
            Some(code) => format!("{shown} exits with {code}"),
            None => format!("{shown} was killed by a signal"),
        };
        return Err(Judgement::failed(
            reason,
            last_lines(&String::from_utf8_lossy(&output.stderr)),
        ));
    }
    deployments(&output.stdout).map_err(|error| {
        let printed = String::from_utf8_lossy(&output.stdout);
        Judgement::failed(
            format!("the output of {shown} is not the list of the applied objects: {error}"),
            last_lines(&printed),
        )
    })
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}

/// The used fields of kubectl's list.
#[derive(Deserialize)]
struct ObjectList {
    items: Vec<AppliedObject>,
}

#[derive(Deserialize)]
struct AppliedObject {
    kind: String,
    metadata: AppliedMetadata,
}

#[derive(Deserialize)]
struct AppliedMetadata {
    name: String,
    namespace: Option<String>,
}

/// Returns the Deployments in kubectl's output: a list, or a single object if the overlay contains only one.
fn deployments(output: &[u8]) -> Result<Vec<Applied>, serde_json::Error> {
    let objects = match serde_json::from_slice::<ObjectList>(output) {
        Ok(list) => list.items,
        Err(_) => vec![serde_json::from_slice(output)?],
    };
    let of_deployments = objects.into_iter().filter(|object| object.kind == "Deployment");
    Ok(of_deployments
        .map(|object| Applied {
            namespace: object.metadata.namespace.unwrap_or_else(|| "default".to_owned()),
            name: object.metadata.name,
        })
        .collect())
}

/// Returns why a Deployment is not available, and whether waiting does not help; `None` if it is available.
async fn unavailable(cluster: &Cluster, deployment: &Applied) -> Option<(String, bool)> {
    let Applied { namespace, name } = deployment;
    let rollout = match cluster.rollout(namespace, name).await {
        Ok(Some(rollout)) => rollout,
        Ok(None) => return Some(("it does not exist".to_owned(), false)),
        Err(error) => return Some((format!("it cannot be read: {error}"), false)),
    };
    let missing = rollout.missing()?;
    let pods = cluster.pods(namespace, &rollout.selector).await;
    let reason = pods.ok().and_then(|pods| {
        let waiting = pods.into_iter().find(|pod| !pod.ready && !pod.terminating)?;
        Some(format!("; pod {}: {}", waiting.name, waiting.not_ready_reason?))
    });
    let text = format!("{missing}{}", reason.unwrap_or_default());
    Some(match rollout.stuck {
        Some(message) => (format!("{text} ({message})"), true),
        None => (text, false),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deployments_of_a_list_and_of_a_single_object_are_found() {
        let app = |namespace: &str, name: &str| Applied {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let list = br#"{"kind": "List", "items": [
            {"kind": "Namespace", "metadata": {"name": "sample-app"}},
            {"kind": "Deployment", "metadata": {"name": "app-a", "namespace": "sample-app"}}]}"#;
        assert_eq!(deployments(list).unwrap(), [app("sample-app", "app-a")]);
        let single = br#"{"kind": "Deployment", "metadata": {"name": "app-b"}}"#;
        assert_eq!(deployments(single).unwrap(), [app("default", "app-b")]);
        assert!(deployments(b"deployment.apps/app-a created").is_err());
    }
}
