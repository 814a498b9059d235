//! `cargo xtask demo`: a cluster, the pair on it, load, and the proof that it scales out and in.

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use testbed::{cluster, paths, progress};

use crate::images;

/// 392 requests a second need 8 pods at 50 each, and only 8: with the HPA's tolerance of 10 %, 7 pods would do up to
/// 385, and once 8 run, 9 are not asked for below 440.
const RATE: &str = "392";

#[derive(Args)]
pub(crate) struct Options {
    /// Use this cluster of your kubeconfig (minikube, kind, …) instead of making one
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Where `app_a` is reached, if its Service's own address is not it
    #[arg(long)]
    url: Option<String>,
    /// Requests a second of the step
    #[arg(long, default_value = RATE)]
    rate: String,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if options.context.is_none() {
        cluster::up()?;
    }
    images::run()?;
    let cluster = Cluster {
        context: options.context.clone(),
    };
    progress::step("bring the images to the cluster", || cluster.load_images())?;
    cluster.deploy()?;
    let url = match &options.url {
        Some(url) => url.clone(),
        None => cluster.app_a_url()?,
    };
    let report = paths::target().join("report");
    std::fs::create_dir_all(&report)?;
    let (html, json) = (report.join("scale.html"), report.join("scale.json"));
    let mut command = Command::new(images::loadtest()?);
    command
        .args(["scale", "--url", &format!("{url}/hello"), "--rate", &options.rate])
        .arg("--html")
        .arg(&html)
        .arg("--json")
        .arg(&json);
    cluster.address(&mut command);
    let status = command.status().context("cannot run loadtest")?;
    println!("report: {}\n        {}", html.display(), json.display());
    if options.context.is_none() {
        println!(
            "the cluster stays up: app_a {url}/hello, Prometheus http://127.0.0.1:9090; `cargo xtask cluster down` ends it"
        );
    }
    Ok(ExitCode::from(
        u8::try_from(status.code().unwrap_or(1)).unwrap_or(1),
    ))
}

/// The testbed, or a cluster of the user's.
struct Cluster {
    context: Option<String>,
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

    /// Points the load generator at this cluster.
    fn address(&self, command: &mut Command) {
        match &self.context {
            None => command.env("KUBECONFIG", paths::kubeconfig()),
            Some(context) => command.args(["--context", context]),
        };
    }

    fn load_images(&self) -> Result<()> {
        let archives = images::archives();
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
                    "how images reach the cluster {context} is not known (it is neither minikube nor kind): \
                     bring target/images/*.tar to its nodes with `ctr -n k8s.io images import`, or push them to its registry, \
                     then `kubectl apply -k kubernetes/overlays/local` and `loadtest scale --url URL --context {context}`"
                );
            };
            progress::run(command.arg(archive))?;
        }
        Ok(())
    }

    fn deploy(&self) -> Result<()> {
        progress::step("kubectl apply -k kubernetes/overlays/local", || {
            let overlay = paths::workspace().join("kubernetes/overlays/local");
            progress::run(self.kubectl().args(["apply", "-k"]).arg(overlay)).map(drop)
        })?;
        progress::step("every Deployment ready", || {
            for (namespace, name) in [
                ("sample-app", "app-b"),
                ("sample-app", "app-a"),
                ("monitoring", "prometheus"),
                ("monitoring", "prometheus-adapter"),
            ] {
                let name = format!("deployment/{name}");
                let arguments = [
                    "rollout",
                    "status",
                    "--timeout=180s",
                    "--namespace",
                    namespace,
                    &name,
                ];
                progress::run(self.kubectl().args(arguments))?;
            }
            Ok(())
        })
    }

    /// The address of `app_a`'s Service, not of a pod: a port-forward would pin one.
    fn app_a_url(&self) -> Result<String> {
        if self.context.is_none() {
            return Ok("http://127.0.0.1:30080".to_owned());
        }
        let read = |kind: &[&str], path: &str| {
            progress::run(
                self.kubectl()
                    .arg("get")
                    .args(kind)
                    .args(["-o", &format!("jsonpath={path}")]),
            )
            .map(|text| text.split_whitespace().next().unwrap_or_default().to_owned())
        };
        // The overlay that was just applied gives it a port on each node.
        let service = ["service", "app-a", "--namespace", "sample-app"];
        let node = read(
            &["nodes"],
            r#"{.items[*].status.addresses[?(@.type=="InternalIP")].address}"#,
        )?;
        let port = read(&service, "{.spec.ports[0].nodePort}")?;
        if node.is_empty() || port.is_empty() {
            bail!("the Service app-a has no address that is reached from here: name one with --url");
        }
        Ok(format!("http://{node}:{port}"))
    }
}

fn is_minikube(context: &str) -> bool {
    let listing = Command::new("minikube")
        .args(["profile", "list", "--output", "json"])
        .output();
    listing.is_ok_and(|output| {
        String::from_utf8_lossy(&output.stdout).contains(&format!("\"Name\":\"{context}\""))
    })
}
