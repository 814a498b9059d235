//! The cluster of a stage, through kubectl.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use testbed::{components, paths, progress};

use super::outcome::refused;

/// The namespace of the pair.
pub(super) const NAMESPACE: &str = "sample-app";

/// The Deployments of the pair. The record of the verified release is on both; the last one decides.
pub(super) const PAIR: [&str; 2] = ["app-b", "app-a"];

/// The deadline of a request to the API server, as a flag of kubectl. It takes less than a second on an idle machine.
const REQUEST_FLAG: &str = "--request-timeout=6s";

/// The deadline of kubectl with [`REQUEST_FLAG`]. The lease (30 s) must outlast two such requests and the pauses between them.
const REQUEST: Duration = Duration::from_secs(8);

/// A cluster, and how to reach it.
#[derive(Clone)]
pub(super) struct Cluster {
    kubectl: PathBuf,
    /// Without one: the testbed.
    context: Option<String>,
}

impl Cluster {
    /// The cluster of a context of the user's kubeconfig, or the testbed.
    ///
    /// # Errors
    /// When kubectl cannot be built.
    pub(super) fn new(context: Option<String>) -> Result<Self> {
        Ok(Self {
            kubectl: components::kubectl()?,
            context,
        })
    }

    /// A cluster that a stand-in for kubectl shows.
    #[cfg(test)]
    pub(super) fn for_tests(kubectl: PathBuf) -> Self {
        let context = Some("test".to_owned());
        Self { kubectl, context }
    }

    /// Names the cluster.
    pub(super) fn describe(&self) -> String {
        match &self.context {
            None => "the testbed".to_owned(),
            Some(context) => format!("the cluster of the context {context}"),
        }
    }

    /// kubectl for this cluster.
    pub(super) fn kubectl(&self) -> Command {
        let mut command = program(&self.kubectl);
        self.select(&mut command);
        command
    }

    /// Makes a program that reads a kubeconfig, and has the flag `--context`, use this cluster.
    pub(super) fn select(&self, command: &mut Command) {
        match &self.context {
            None => command.env("KUBECONFIG", paths::kubeconfig()),
            Some(context) => command.args(["--context", context]),
        };
    }

    /// The path of kubectl.
    pub(super) fn kubectl_path(&self) -> &Path {
        &self.kubectl
    }

    /// Runs kubectl with one short request.
    ///
    /// # Errors
    /// When kubectl fails, or does not exit within 8 s. The message has its output.
    pub(super) fn request(&self, arguments: &[&str]) -> Result<String> {
        progress::run_within(REQUEST, self.kubectl().arg(REQUEST_FLAG).args(arguments))
    }

    /// Reads an object; `None` if it does not exist.
    ///
    /// # Errors
    /// As for [`Self::request`].
    pub(super) fn get(&self, namespace: &str, kind: &str, name: &str) -> Result<Option<Value>> {
        let get = [
            "get",
            kind,
            name,
            "--ignore-not-found",
            "--output=json",
            "--namespace",
            namespace,
        ];
        let text = self.request(&get)?;
        if text.trim().is_empty() {
            return Ok(None);
        }
        Ok(Some(
            serde_json::from_str(&text).context("kubectl get prints no JSON")?,
        ))
    }

    /// Creates or replaces an object, and returns it as the API server stored it. `verb` is that of kubectl.
    ///
    /// # Errors
    /// As for [`Self::request`].
    pub(super) fn write(&self, verb: &str, object: &Value) -> Result<Value> {
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), object.to_string())?;
        let file = file.path().display().to_string();
        let text = self.request(&[verb, "--output=json", "--filename", &file])?;
        serde_json::from_str(&text).with_context(|| format!("kubectl {verb} prints no JSON"))
    }

    /// Checks that the API server answers.
    ///
    /// # Errors
    /// Refuses a cluster that does not.
    pub(super) fn check(&self) -> Result<()> {
        self.request(&["get", "--raw", "/readyz"]).map(drop).map_err(|error| {
            refused(format!(
                "{} does not answer: check `kubectl config get-contexts`, or choose another one with --context\n{error:#}",
                self.describe()
            ))
        })
    }
}

/// A program that the kernel kills when this process exits. Ctrl-C does not reach it, so this process decides how it ends.
pub(super) fn program(path: &Path) -> Command {
    let mut command = progress::bound_to_this_process(&path.to_string_lossy());
    command.process_group(0);
    command
}

/// Whether an error of kubectl has this reason of the API server: `Error from server (AlreadyExists): …`.
pub(super) fn has_reason(error: &anyhow::Error, reason: &str) -> bool {
    format!("{error:#}").contains(&format!("({reason})"))
}

/// Whether the API server rejects an object as invalid. kubectl prints this without the reason: `The Pod "…" is invalid: …`.
pub(super) fn is_invalid(error: &anyhow::Error) -> bool {
    format!("{error:#}").contains(" is invalid: ")
}

/// The names of an environment, in the file `environment.yaml` of its overlay.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Environment {
    /// The name of the cluster, which is also the alias of its context (docs/eks.md).
    pub(super) cluster: String,
    /// The host of the pair.
    pub(super) host: String,
}

impl Environment {
    /// Reads the names.
    ///
    /// # Errors
    /// When the overlay has no such file, or it does not have both names.
    pub(super) fn read(overlay: &Path) -> Result<Self> {
        let path = overlay.join("environment.yaml");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Self::parse(&text).with_context(|| format!("{} has no cluster and host", path.display()))
    }

    /// The file is a ConfigMap whose values are plain words.
    fn parse(text: &str) -> Option<Self> {
        let value = |name: &str| {
            let line = text
                .lines()
                .find_map(|line| line.trim_start().strip_prefix(&format!("{name}: ")));
            line.map(|value| value.trim().trim_matches('"').to_owned())
        };
        Some(Self {
            cluster: value("cluster")?,
            host: value("host")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environments_of_the_overlays_have_names() {
        for stage in ["dev", "prod"] {
            let overlay = paths::workspace().join("kubernetes/overlays").join(stage);
            let environment = Environment::read(&overlay).unwrap();
            assert_eq!(environment.cluster, format!("sample-app-{stage}"));
            assert!(environment.host.contains('.'), "{environment:?}");
        }
        assert_eq!(Environment::parse("data:\n  cluster: a\n"), None);
    }

    #[test]
    fn the_reason_of_the_api_server_is_found_below_a_context() {
        let error = anyhow::anyhow!("Error from server (Conflict): error when replacing")
            .context("replace the lease");
        assert!(has_reason(&error, "Conflict"));
        assert!(!has_reason(&error, "AlreadyExists"));
    }
}
