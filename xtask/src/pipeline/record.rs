//! The last verified release, as the pipeline records it on the cluster.
//!
//! The record is an annotation of the Deployments, and the manifests of the release are in a Secret that it names. The Secret is written
//! first, and an older one is deleted last. So at every point the annotation names a release that was verified, with its manifests.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use testbed::components::hex;

use super::cluster::{Cluster, NAMESPACE, PAIR, has_reason};
use super::guard::Guard;
use super::outcome::{Stop, refused};
use super::release::Release;
use super::stage::Stage;
use super::time;

/// The annotation of the Deployments with the last verified release.
const ANNOTATION: &str = "sample-app/verified-release";

/// The label of the Secrets with manifests.
const LABEL: &str = "sample-app/manifests-of-release";

/// The file in such a Secret.
const FILE: &str = "manifests.yaml";

/// The last verified release: the value of the annotation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Verified {
    pub(super) version: String,
    pub(super) revision: String,
    pub(super) stage: Stage,
    /// When it was verified (RFC 3339).
    pub(super) time: String,
    /// The images by their names, each with the reference that the cluster pulls.
    pub(super) images: BTreeMap<String, String>,
    /// The name of the Secret with its manifests.
    manifests: String,
}

impl Verified {
    /// Reads the last verified release; `None` before the first.
    ///
    /// # Errors
    /// Refuses a record that is none. Otherwise when the API server does not answer.
    pub(super) fn read(cluster: &Cluster) -> Result<Option<Self>> {
        let [.., name] = PAIR;
        let Some(deployment) = cluster.get(NAMESPACE, "deployment", name)? else {
            return Ok(None);
        };
        let Some(text) = deployment["metadata"]["annotations"][ANNOTATION].as_str() else {
            return Ok(None);
        };
        let verified = serde_json::from_str(text).map_err(|error| {
            refused(format!(
                "the annotation {ANNOTATION} of the Deployment {name} is not a release ({error}). `kubectl --namespace {NAMESPACE} annotate \
                 deployment {name} {ANNOTATION}-` removes it. Then there is nothing to roll back to"
            ))
        })?;
        Ok(Some(verified))
    }

    /// Reads the manifests of the release; `None` if somebody has deleted them.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub(super) fn manifests(&self, cluster: &Cluster) -> Result<Option<String>> {
        let template = format!("go-template={{{{index .data \"{FILE}\" | base64decode}}}}");
        let get = [
            "get",
            "secret",
            &self.manifests,
            "--ignore-not-found",
            "--namespace",
            NAMESPACE,
            "--output",
            &template,
        ];
        Ok(Some(cluster.request(&get)?).filter(|text| !text.trim().is_empty()))
    }

    /// Records a release that was verified now, with its rendered manifests.
    ///
    /// # Errors
    /// A stop, or the API server does not answer.
    pub(super) fn write(
        guard: &Guard<'_>,
        cluster: &Cluster,
        (release, stage): (&Release, Stage),
        images: &BTreeMap<String, String>,
        manifests: &str,
    ) -> Result<()> {
        let secret = secret(manifests);
        let verified = Self {
            version: release.version.clone(),
            revision: release.revision.clone(),
            stage,
            time: time::seconds(),
            images: images.clone(),
            manifests: secret["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
        };
        match guard.request(|| cluster.write("create", &secret)) {
            // The name is a hash of the content.
            Err(error) if !has_reason(&error, "AlreadyExists") => return Err(error),
            _ => {}
        }
        let annotation = format!("{ANNOTATION}={}", serde_json::to_string(&verified)?);
        let namespace = ["--namespace", NAMESPACE];
        let mut annotate = vec!["annotate", "deployment", "--overwrite"];
        annotate.extend(namespace.into_iter().chain(PAIR).chain([&*annotation]));
        guard.request(|| cluster.request(&annotate))?;
        let others = format!("--field-selector=metadata.name!={}", verified.manifests);
        let mut delete = vec!["delete", "secrets", "--selector", LABEL, &others];
        delete.extend(namespace);
        match guard.request(|| cluster.request(&delete)) {
            // The release is recorded. The next one deletes them.
            Err(error) if !error.is::<Stop>() => {
                eprintln!("warning: the manifests of older releases stay: {error:#}");
                Ok(())
            }
            deleted => deleted.map(drop),
        }
    }
}

/// The Secret with the manifests of a release. A Secret, because an overlay of a user may contain one.
fn secret(manifests: &str) -> Value {
    let hash = hex(&Sha256::digest(manifests));
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": format!("manifests-{}", &hash[..12]),
            "namespace": NAMESPACE,
            "labels": { LABEL: "" },
        },
        "stringData": { FILE: manifests },
    })
}

/// The images that the pair runs now, by Deployment.
///
/// # Errors
/// A stop, or the API server does not answer.
pub(super) fn running(guard: &Guard<'_>, cluster: &Cluster) -> Result<Vec<(&'static str, String)>> {
    let mut running = Vec::new();
    for name in PAIR {
        let deployment = guard.request(|| cluster.get(NAMESPACE, "deployment", name))?;
        let container = deployment
            .as_ref()
            .map(|found| &found["spec"]["template"]["spec"]["containers"][0]["image"]);
        let image = container
            .and_then(Value::as_str)
            .context("no image")
            .map(str::to_owned);
        running.push((name, image.unwrap_or_else(|_| "nothing".to_owned())));
    }
    Ok(running)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_manifests_depends_on_their_content() {
        let name = |text: &str| secret(text)["metadata"]["name"].clone();
        assert_eq!(name("a"), name("a"));
        assert_ne!(name("a"), name("b"));
    }
}
