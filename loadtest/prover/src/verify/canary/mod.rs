//! The tests of a canary: one pod of a new release beside the stable pods. `canary-starts`, `canary-urls` and `canary-metrics` run before
//! any user's request reaches it, `canary-load` compares it with the stable pods under load.

mod compared;
mod counters;
mod forward;
mod load;
mod metrics;
mod proportion;
mod start;

use std::path::PathBuf;

use tokio::time::Instant;

use super::{
    outcome::Judgement,
    requests::{Client, urls, wire_contract, wire_contract_of_app_b},
};
use crate::cluster::Cluster;
use compared::Rules;
use forward::Forward;
pub use load::{CanaryProbe, canary_load};
pub use metrics::canary_metrics;
pub use start::canary_starts;

/// The name of the backend, whose wire contract is another one.
const BACKEND: &str = "app-b";

/// A canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canary {
    /// The Deployment whose next release it runs: `app-a` or `app-b`.
    pub deployment: String,
    /// The pod.
    pub pod: String,
}

/// The parameters of the tests of canaries.
#[derive(Clone, Debug)]
pub struct CanaryOptions {
    /// The canaries.
    pub canaries: Vec<Canary>,
    /// The namespace of the pair.
    pub namespace: String,
    /// The program kubectl, which forwards the ports of the pods.
    pub kubectl: PathBuf,
    /// The context of the kubeconfig; `None` for the current one.
    pub context: Option<String>,
    /// The series that counts requests.
    pub series: String,
    /// The largest average response time, in milliseconds.
    pub objective_ms: f64,
    /// The shortest time of `canary-load`, in seconds.
    pub window_seconds: usize,
    /// How much slower the average of a canary may be, as a share of that of the stable pods.
    pub tolerance: f64,
}

impl CanaryOptions {
    fn rules(&self) -> Rules {
        Rules::of(self.window_seconds, self.tolerance)
    }
}

/// The test `canary-urls`: each canary answers its wire contract, asked directly.
pub async fn canary_urls(
    cluster: &Cluster,
    options: &CanaryOptions,
    client: &Client,
    deadline: Instant,
) -> Judgement {
    let mut judged = Vec::new();
    for canary in &options.canaries {
        let found = directly(cluster, options, canary, client, deadline).await;
        judged.push((canary, found.unwrap_or_else(|error| error)));
    }
    combine(judged)
}

async fn directly(
    cluster: &Cluster,
    options: &CanaryOptions,
    canary: &Canary,
    client: &Client,
    deadline: Instant,
) -> Result<Judgement, Judgement> {
    let pod = cluster.serving_pod(&options.namespace, &canary.pod).await;
    let pod = pod.map_err(|error| Judgement::failed("the canary cannot be read", error.to_string()))?;
    let port = pod.and_then(|pod| pod.http_port);
    let port = port.ok_or_else(|| Judgement::failed("the canary has no port named http", String::new()))?;
    let forward = Forward::open(options, &canary.pod, port, deadline).await;
    let forward = forward.map_err(|error| Judgement::failed("the canary cannot be asked directly", error))?;
    let contract = if canary.deployment == BACKEND {
        wire_contract_of_app_b
    } else {
        wire_contract
    };
    let checks = contract(&forward.url()).map_err(|error| Judgement::failed(error, String::new()))?;
    Ok(urls(client, &checks, deadline).await)
}

/// Combines the judgements of all canaries.
fn combine(judged: Vec<(&Canary, Judgement)>) -> Judgement {
    let (mut failures, mut seen, mut figures) = (Vec::new(), Vec::new(), Vec::new());
    for (Canary { deployment, .. }, found) in judged {
        failures.extend(found.failure.map(|reason| format!("{deployment}: {reason}")));
        if !found.seen.is_empty() {
            seen.push(format!("{deployment}: {}", found.seen));
        }
        figures.extend(found.figures.into_iter().map(|mut figure| {
            figure.name = format!("{deployment}: {}", figure.name);
            figure
        }));
    }
    Judgement {
        failure: (!failures.is_empty()).then(|| failures.join("; ")),
        seen: seen.join("; "),
        figures,
    }
}
