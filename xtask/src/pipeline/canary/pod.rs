//! The manifest of a canary.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::pipeline::cluster::NAMESPACE;

/// The label of the canaries. `loadtest verify` reads it too: `loadtest/prover/src/cluster/canary.rs`.
const TRACK: (&str, &str) = ("sample-app/track", "canary");

/// Selects the canaries.
pub(super) const SELECTOR: &str = "sample-app/track=canary";

/// The label that the Services select, and that no network policy and no other selector uses. A canary gets the one of its Deployment when
/// it is admitted.
pub(super) const ADMITTED: &str = "app.kubernetes.io/component";

/// The value of [`ADMITTED`] before.
const NOT_ADMITTED: &str = "canary";

/// The longest life of a canary: the kubelet ends it even if nobody deletes it. Longer than its tests, which take at most 9 minutes after
/// its start with their default deadlines.
pub(super) const LONGEST_SECONDS: u32 = 900;

/// A canary to start.
#[derive(Debug, PartialEq)]
pub(super) struct Pod {
    /// The Deployment whose next pods it is like.
    pub(super) deployment: String,
    pub(super) manifest: Value,
    /// The label with which it gets requests.
    pub(super) component: String,
}

impl Pod {
    /// A canary of a Deployment, as the API server would store it.
    ///
    /// # Errors
    /// When the pods of the Deployment lack the label [`ADMITTED`].
    pub(super) fn of(name: &str, deployment: &Value) -> Result<Self> {
        let template = &deployment["spec"]["template"];
        let component = template["metadata"]["labels"][ADMITTED].as_str();
        let component = component
            .with_context(|| format!("the pods of {name} have no label {ADMITTED}"))?
            .to_owned();
        let mut labels = template["metadata"]["labels"].clone();
        labels[TRACK.0] = TRACK.1.into();
        labels[ADMITTED] = NOT_ADMITTED.into();
        let mut spec = template["spec"].clone();
        spec["activeDeadlineSeconds"] = LONGEST_SECONDS.into();
        let manifest = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                // A canary before it may still drain.
                "generateName": format!("{name}-canary-"),
                "namespace": NAMESPACE,
                "labels": labels,
                "annotations": template["metadata"]["annotations"],
            },
            "spec": spec,
        });
        Ok(Self {
            deployment: name.to_owned(),
            manifest,
            component,
        })
    }
}
