//! The test `canary-urls`: each canary answers its wire contract.

use tokio::time::Instant;

use super::{
    again::until_answered,
    forward::Forward,
    options::{BACKEND, Canary, CanaryOptions, combine},
};
use crate::{
    cluster::Cluster,
    verify::{
        outcome::Judgement,
        requests::{Client, urls},
        wire_contract::{wire_contract, wire_contract_of_app_b},
    },
};

/// Asks each canary directly. No Service sends it a request yet.
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
    let read = async || cluster.serving_pod(&options.namespace, &canary.pod).await;
    let pod = until_answered(deadline, read).await;
    let pod = pod.map_err(|error| Judgement::failed("the canary cannot be read", error))?;
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
