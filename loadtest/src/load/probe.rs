//! One connection to each host before any load: an unreachable one is a mistake in the command, not a result.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use thiserror::Error;
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

use super::target::Mix;

/// Where each host and port of a mix is reached. Resolved once, before the load.
#[derive(Clone, Debug)]
pub struct Addresses(pub(crate) BTreeMap<(String, u16), Vec<SocketAddr>>);

/// A host that cannot be reached.
#[derive(Debug, Error)]
#[error("{host}:{port} cannot be reached: {why}")]
pub struct Unreachable {
    host: String,
    port: u16,
    why: String,
}

/// Resolves every host of the mix and opens one connection to each of its addresses. Addresses that do not answer are
/// left out, as `localhost` often has one of two that nothing listens on.
///
/// # Errors
/// When a host does not resolve or none of its addresses accepts a connection within `patience`.
pub async fn probe(mix: &Mix, patience: Duration) -> Result<Addresses, Unreachable> {
    let mut reached = BTreeMap::new();
    for target in mix.targets() {
        let (host, port) = target.authority();
        if reached.contains_key(&(host.clone(), port)) {
            continue;
        }
        let unreachable = |why: String| Unreachable {
            host: host.clone(),
            port,
            why,
        };
        let addresses = lookup_host((host.as_str(), port))
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let mut answering = Vec::new();
        let mut why = "it has no address".to_owned();
        for address in addresses {
            match timeout(patience, TcpStream::connect(address)).await {
                Ok(Ok(_)) => answering.push(address),
                Ok(Err(error)) => why = format!("{address}: {error}"),
                Err(_) => {
                    why = format!(
                        "{address}: no connection within {}",
                        humantime::format_duration(patience)
                    );
                }
            }
        }
        answering.dedup();
        if answering.is_empty() {
            return Err(unreachable(why));
        }
        reached.insert((host, port), answering);
    }
    Ok(Addresses(reached))
}
