//! The canary: one pod of the release, beside the running ones, before the release is deployed.
//!
//! It is a pod without a Deployment: nothing replaces it, no other selector claims it, and the kubelet ends it if this program cannot.

mod plan;
mod pod;

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use testbed::progress;

use super::cluster::{Cluster, NAMESPACE, has_reason, is_invalid};
use super::guard::Guard;
use super::outcome::Stop;
use super::record::Verified;
use super::verify::Tests;
use plan::{Plan, plan};
use pod::{ADMITTED, SELECTOR};

/// The deadline of a dry run of kubectl. It takes seconds.
const DRY_RUN: Duration = Duration::from_mins(3);

/// The tests before a request of a user reaches the canary.
const DIRECT: [&str; 3] = ["canary-starts", "canary-urls", "canary-metrics"];

/// The test with the requests of users.
const LOAD: [&str; 1] = ["canary-load"];

/// The trial of a release on canaries.
pub(super) struct Canaries<'a> {
    pub(super) guard: &'a Guard<'a>,
    pub(super) cluster: &'a Cluster,
    pub(super) tests: &'a Tests,
    pub(super) loadtest: &'a Path,
    /// The manifests of the release.
    pub(super) manifests: &'a Path,
    /// The last verified release.
    pub(super) before: Option<&'a Verified>,
}

/// A canary that runs.
struct Canary {
    /// The Deployment whose next pods it is like.
    deployment: String,
    pod: String,
    /// The label that the Services select, and the canary lacks at first.
    component: String,
}

impl Canaries<'_> {
    /// Deletes the canaries that a pipeline left which was killed.
    ///
    /// # Errors
    /// A [`Stop`], or the API server does not answer.
    pub(super) fn delete_leftovers(&self) -> Result<()> {
        self.guard.request(|| self.delete()).map(drop)
    }

    /// Tries the release on a canary of each Deployment of the pair whose pods it changes. Returns why the release fails; nothing of it
    /// stays.
    ///
    /// # Errors
    /// A [`Stop`]; a refusal; or the API server does not answer.
    pub(super) fn run(&self) -> Result<Vec<String>> {
        let planned = match self.plan()? {
            Ok(planned) => planned,
            Err(failure) => return Ok(vec![failure]),
        };
        for (name, reason) in &planned.without {
            eprintln!("  …       no canary of {name}: {reason}");
        }
        if planned.pods.is_empty() {
            return Ok(Vec::new());
        }
        let failed = self.try_pods(&planned.pods);
        self.delete_after(failed)
    }

    /// Returns the canaries to start, or why the API server does not accept the release.
    fn plan(&self) -> Result<Result<Plan, String>> {
        let running = plan::running(self.guard, self.cluster)?;
        if running.is_empty() {
            return Ok(Ok(Plan::nothing_runs()));
        }
        let objects = match self.dry_run(["create", "--dry-run=client"], self.manifests)? {
            Ok(objects) => plan::of_the_pair(&objects)?,
            Err(failure) => return Ok(Err(failure)),
        };
        // Only these objects: in a dry run the API server accepts nothing in a namespace that the release adds.
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), objects.to_string())?;
        let next = match self.dry_run(["apply", "--dry-run=server"], file.path())? {
            Ok(next) => next,
            Err(failure) => return Ok(Err(failure)),
        };
        let services = self.guard.request(|| self.list("services"))?;
        let verified = self.before.map(|before| &before.images);
        plan(&next, &running, verified, &services).map(Ok)
    }

    /// Runs kubectl, which changes nothing. Returns the objects that it prints, or why it does not accept the file.
    fn dry_run(&self, command: [&str; 2], file: &Path) -> Result<Result<String, String>> {
        let mut kubectl = self.cluster.kubectl();
        kubectl
            .args(command)
            .args(["--output=json", "--filename"])
            .arg(file);
        let command = command.join(" ");
        let ended = match self.guard.run(&mut kubectl, DRY_RUN) {
            Err(error) if !error.is::<Stop>() => return Ok(Err(format!("kubectl {command}: {error:#}"))),
            ended => ended?,
        };
        if !ended.status.success() {
            return Ok(Err(format!("kubectl {command}: {}", ended.stderr.trim())));
        }
        Ok(Ok(ended.stdout))
    }

    fn list(&self, kind: &str) -> Result<Value> {
        let get = ["get", kind, "--output=json", "--namespace", NAMESPACE];
        Ok(serde_json::from_str(&self.cluster.request(&get)?)?)
    }

    /// Starts the pods and tests them. Returns the tests that failed.
    fn try_pods(&self, pods: &[pod::Pod]) -> Result<Vec<String>> {
        let names: Vec<_> = pods.iter().map(|pod| pod.deployment.as_str()).collect();
        let names = names.join(" and ");
        let mut canaries = Vec::new();
        for pod in pods {
            // A pod whose answer was lost is deleted with the others.
            let created = self.guard.request(|| self.cluster.write("create", &pod.manifest));
            let created = match created {
                Err(error) if is_rejected(&error) => {
                    return Ok(vec![format!(
                        "the cluster rejects a canary of {}: {error:#}",
                        pod.deployment
                    )]);
                }
                created => created?,
            };
            canaries.push(Canary {
                deployment: pod.deployment.clone(),
                pod: created["metadata"]["name"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
                component: pod.component.clone(),
            });
        }
        let failed = progress::step(&format!("ask a canary of {names} directly"), || {
            self.test(&canaries, "canary-direct", &DIRECT)
        })?;
        if !failed.is_empty() {
            return Ok(failed);
        }
        progress::step(&format!("compare the canary of {names} under load"), || {
            for canary in &canaries {
                let label = format!("{ADMITTED}={}", canary.component);
                let admit = [
                    "label",
                    "pod",
                    &canary.pod,
                    "--overwrite",
                    &label,
                    "--namespace",
                    NAMESPACE,
                ];
                self.guard.request(|| self.cluster.request(&admit))?;
            }
            self.test(&canaries, "canary-load", &LOAD)
        })
    }

    fn test(&self, canaries: &[Canary], report: &str, tests: &[&str]) -> Result<Vec<String>> {
        let mut flags = Vec::new();
        for canary in canaries {
            flags.extend([
                "--canary".to_owned(),
                format!("{}={}", canary.deployment, canary.pod),
            ]);
        }
        for test in tests {
            flags.extend(["--only".to_owned(), (*test).to_owned()]);
        }
        self.tests
            .run_as(self.guard, self.cluster, self.loadtest, report, &flags)
    }

    /// Deletes the canaries, however their tests ended.
    fn delete_after(&self, failed: Result<Vec<String>>) -> Result<Vec<String>> {
        let deleted = match &failed {
            // Another pipeline may have canaries now. It deletes those of this one first.
            Err(error) if matches!(error.downcast_ref(), Some(Stop::LeaseLost(_))) => return failed,
            // The guard sends nothing after a signal.
            Err(_) => self.delete(),
            Ok(_) => self.guard.request(|| self.delete()),
        };
        match deleted {
            Err(error) if error.is::<Stop>() => return failed.and(Err(error)),
            Err(error) => eprintln!(
                "warning: the canaries are not deleted, and end by themselves after {} s: {error:#}. \
                 `kubectl --namespace {NAMESPACE} delete pods --selector {SELECTOR}` deletes them",
                pod::LONGEST_SECONDS
            ),
            Ok(_) => {}
        }
        failed
    }

    /// They drain without being waited for.
    fn delete(&self) -> Result<String> {
        let namespace = ["--namespace", NAMESPACE];
        let mut delete = vec!["delete", "pods", "--selector", SELECTOR, "--wait=false"];
        delete.extend(namespace);
        self.cluster.request(&delete)
    }
}

/// Whether the API server rejects a pod for what it is, as it would reject the pods of the Deployment: by a rule such as `PodSecurity`, a
/// quota, or a webhook. A missing permission of this account says nothing about the release.
fn is_rejected(error: &anyhow::Error) -> bool {
    let text = format!("{error:#}");
    let is_rejected = has_reason(error, "Forbidden") || has_reason(error, "BadRequest") || is_invalid(error);
    (is_rejected || text.contains("denied the request")) && !text.contains("cannot create resource")
}
