//! `cargo xtask demo`: deploys the pair on a cluster, drives a step of load, and proves that the pods scale out and in.

use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use testbed::{cluster, command, components, karpenter, network_policy, paths, progress};
use wiring::{ROLLOUTS, Rollout};

use crate::images::{self, Profile};

/// The replicas that the step of load needs. `loadtest scale` computes the rate from the target and the tolerance of the HPA.
const REPLICAS: &str = "8";

/// The CPU time that the first node offers with `--nodes`, in thousandths of a CPU. The control plane requests about 850m, and
/// Karpenter, Prometheus, the adapter and the pods at rest most of the rest: more pods need a new node.
const FIRST_NODE_MILLIS: u64 = 1400;

/// The zones that the new nodes must be in. The pods at rest are in the zone of the first node, the other two zones are empty.
const NEW_ZONES: &str = "2";

/// The Deployment that `overlays/local-nodes` has in addition.
const KARPENTER: Rollout = Rollout {
    namespace: "karpenter",
    deployment: "karpenter",
};

/// The first minor version of Kubernetes 1 whose API has the tolerance of an HPA.
const FIRST_WITH_TOLERANCE: u32 = 33;

/// The deadline of a command that asks the cluster for something.
const REQUEST: Duration = Duration::from_mins(2);

/// The deadline for a Deployment to become ready, as a flag of kubectl. kubectl then says what is missing.
const ROLLOUT: &str = "--timeout=180s";

/// The deadline of kubectl with [`ROLLOUT`], and of the import of an image on each node.
const LONG: Duration = Duration::from_mins(4);

#[derive(Args)]
pub(crate) struct Options {
    /// Use this context of your kubeconfig (minikube, kind, …) instead of a new cluster
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Also prove that nodes scale: Karpenter adds real nodes of the testbed in several zones, and removes them again
    #[arg(long, conflicts_with = "context")]
    nodes: bool,
    /// The URL of `app_a`, if the address of its Service is not reachable from here
    #[arg(long)]
    url: Option<String>,
    /// The rate of the step, in requests per second (default: the rate that needs 8 pods)
    #[arg(long)]
    rate: Option<String>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    println!("{}", expected_time(options)?);
    // Before the cluster, so that an error in the source shows before the long build of Kubernetes.
    images::build(Profile::Quick)?;
    images::write_tags()?;
    if options.context.is_none() {
        cluster::up(options.nodes.then_some(FIRST_NODE_MILLIS))?;
    }
    let cluster = Cluster {
        context: options.context.clone(),
        nodes: options.nodes,
    };
    progress::step("import the images on the cluster", || cluster.import_images())?;
    if options.nodes {
        karpenter::prepare()?;
        network_policy::enforce()?;
    }
    cluster.deploy()?;
    let url = match &options.url {
        Some(url) => url.clone(),
        None => cluster.app_a_url()?,
    };
    let report = paths::target().join("report");
    std::fs::create_dir_all(&report)?;
    let (html, json) = (report.join("scale.html"), report.join("scale.json"));
    let mut command = Command::new(images::loadtest(Profile::Quick)?);
    command
        .args(["scale", "--url", &format!("{url}/hello")])
        .args(match &options.rate {
            Some(rate) => ["--rate", rate],
            None => ["--replicas", REPLICAS],
        })
        // A sync period of the HPA, and the 30 s for which the metric is averaged.
        .args(["--plateau", "40s"])
        .arg("--html")
        .arg(&html)
        .arg("--json")
        .arg(&json);
    if options.nodes {
        command.args(["--nodes", "--zones", NEW_ZONES]);
    }
    cluster.select(&mut command);
    let status = command.status().context("cannot run loadtest")?;
    println!("report: {}\n        {}", html.display(), json.display());
    if options.context.is_none() {
        println!(
            "the cluster stays up: app_a {url}/hello, Prometheus http://127.0.0.1:9090; `cargo xtask cluster down` stops it"
        );
    }
    Ok(ExitCode::from(
        u8::try_from(status.code().unwrap_or(1)).unwrap_or(1),
    ))
}

/// The time that this run will take, measured on 2 cores.
fn expected_time(options: &Options) -> Result<&'static str> {
    Ok(if options.nodes {
        "demo: about 6 minutes, and 20 more the first time, to build Kubernetes, Prometheus and Karpenter"
    } else if options.context.is_none() && !components::missing(components::ALL)?.is_empty() {
        "demo: about 18 minutes the first time, 15 of them to build Kubernetes and Prometheus; 3 minutes from then on"
    } else if !images::loadtest(Profile::Quick)?.exists() {
        "demo: about 6 minutes the first time, 3 of them to build the services; 3 minutes from then on"
    } else {
        "demo: about 3 minutes"
    })
}

/// The testbed, or a cluster of the user's kubeconfig.
struct Cluster {
    context: Option<String>,
    /// Whether its nodes scale.
    nodes: bool,
}

impl Cluster {
    fn kubectl(&self) -> Command {
        match &self.context {
            None => cluster::kubectl(),
            Some(context) => {
                let mut command = Command::new("kubectl");
                command.args(["--context", context]);
                command
            }
        }
    }

    /// Makes the load generator use this cluster.
    fn select(&self, command: &mut Command) {
        match &self.context {
            None => command.env("KUBECONFIG", paths::kubeconfig()),
            Some(context) => command.args(["--context", context]),
        };
    }

    fn import_images(&self) -> Result<()> {
        let archives = images::service_archives(Profile::Quick);
        let Some(context) = &self.context else {
            return cluster::load(&archives);
        };
        for archive in archives {
            let mut command = if let Some(name) = context.strip_prefix("kind-") {
                let mut command = Command::new("kind");
                command.args(["load", "image-archive", "--name", name]);
                command
            } else if is_minikube(context) {
                let mut command = Command::new("minikube");
                command.args(["--profile", context, "image", "load"]);
                command
            } else {
                bail!(
                    "the context {context} is neither minikube nor kind, so the demo cannot import images there. \
                     Run `cargo xtask images`, then import target/images/*.tar on each node with `ctr -n k8s.io images import`, \
                     or push the images to the registry of the cluster. Then run `kubectl apply -k kubernetes/overlays/local` \
                     and `loadtest scale --url URL --context {context}`"
                );
            };
            progress::run_within(LONG, command.arg(archive))?;
        }
        Ok(())
    }

    /// The overlay for the version of the cluster.
    fn overlay(&self) -> Result<&'static str> {
        if self.nodes {
            return Ok("kubernetes/overlays/local-nodes");
        }
        let answer = progress::run_within(REQUEST, self.kubectl().args(["version", "--output", "json"]))?;
        let version: serde_json::Value = serde_json::from_str(&answer).context("kubectl version")?;
        overlay_for(version["serverVersion"]["minor"].as_str().unwrap_or_default())
    }

    fn deploy(&self) -> Result<()> {
        let overlay = self.overlay()?;
        progress::step(&format!("kubectl apply -k {overlay}"), || {
            let overlay = paths::workspace().join(overlay);
            progress::run_within(REQUEST, self.kubectl().args(["apply", "-k"]).arg(overlay)).map(drop)
        })?;
        progress::step("wait for every Deployment", || {
            for rollout in self.nodes.then_some(KARPENTER).into_iter().chain(ROLLOUTS) {
                let name = format!("deployment/{}", rollout.deployment);
                let arguments = [
                    "rollout",
                    "status",
                    ROLLOUT,
                    "--namespace",
                    rollout.namespace,
                    &name,
                ];
                progress::run_within(LONG, self.kubectl().args(arguments))?;
            }
            if self.nodes {
                let pool = ["wait", "--for=condition=Ready", "nodepool/default", ROLLOUT];
                progress::run_within(LONG, self.kubectl().args(pool))?;
            }
            Ok(())
        })
    }

    /// The URL of the Service `app-a`. Not a port-forward, which sends all requests to one pod.
    fn app_a_url(&self) -> Result<String> {
        if self.context.is_none() {
            return Ok("http://127.0.0.1:30080".to_owned());
        }
        let read = |kind: &[&str], path: &str| {
            progress::run_within(
                REQUEST,
                self.kubectl()
                    .arg("get")
                    .args(kind)
                    .args(["-o", &format!("jsonpath={path}")]),
            )
            .map(|text| text.split_whitespace().next().unwrap_or_default().to_owned())
        };
        // The local overlay makes it a NodePort.
        let service = ["service", "app-a", "--namespace", "sample-app"];
        let node = read(
            &["nodes"],
            r#"{.items[*].status.addresses[?(@.type=="InternalIP")].address}"#,
        )?;
        let port = read(&service, r#"{.spec.ports[?(@.name=="http")].nodePort}"#)?;
        if node.is_empty() || port.is_empty() {
            bail!("the Service app-a has no address that is reachable from here: pass its URL with --url");
        }
        Ok(format!("http://{node}:{port}"))
    }
}

/// The overlay for a minor version of Kubernetes 1. Managed clusters append a `+`.
fn overlay_for(minor: &str) -> Result<&'static str> {
    let number = minor.trim_end_matches('+').parse::<u32>();
    let number =
        number.with_context(|| format!("the version of the cluster is 1.{minor:?}, which is no number"))?;
    Ok(if number < FIRST_WITH_TOLERANCE {
        "kubernetes/overlays/local-1.29"
    } else {
        "kubernetes/overlays/local"
    })
}

fn is_minikube(context: &str) -> bool {
    let mut list = Command::new("minikube");
    let listing = command::output(list.args(["profile", "list", "--output", "json"]), REQUEST);
    listing.is_ok_and(|output| {
        String::from_utf8_lossy(&output.stdout).contains(&format!("\"Name\":\"{context}\""))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_clusters_get_the_overlay_without_the_tolerance() {
        for (minor, overlay) in [
            ("29", "local-1.29"),
            ("32+", "local-1.29"),
            ("33", "local"),
            ("35", "local"),
        ] {
            assert_eq!(
                overlay_for(minor).unwrap(),
                format!("kubernetes/overlays/{overlay}"),
                "{minor}"
            );
        }
        assert!(overlay_for("").is_err());
    }
}
