//! Opens one connection to each address before the load. An unreachable host is a configuration error, not a result.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use thiserror::Error;
use tokio::time::timeout;

use super::{
    host::{Host, SystemResolver},
    mix::Mix,
    network::Network,
    target::Origin,
};

/// The addresses of each origin of a mix. Resolved before the load, and again during the load with
/// [`Network::dns_ttl`].
#[derive(Clone, Debug)]
pub struct Addresses(pub(crate) BTreeMap<Origin, Host>);

/// A host that cannot be reached.
#[derive(Debug, Error)]
#[error("{host}:{port} cannot be reached: {reason}")]
pub struct Unreachable {
    host: String,
    port: u16,
    reason: String,
}

/// Resolves every host of the mix and opens one connection to each of its addresses.
///
/// Leaves out addresses that do not accept a connection: `localhost` often resolves to two addresses, and the server
/// listens on one of them.
///
/// # Errors
/// When a host does not resolve, when none of its addresses accepts a connection within `connect_timeout`, or when TLS
/// fails.
pub async fn probe(
    mix: &Mix,
    network: &Network,
    connect_timeout: Duration,
) -> Result<Addresses, Unreachable> {
    let mut hosts = BTreeMap::new();
    for target in mix.targets() {
        let origin = target.origin();
        if hosts.contains_key(&origin) {
            continue;
        }
        let unreachable = |reason: String| Unreachable {
            host: origin.host.clone(),
            port: origin.port,
            reason,
        };
        let lookup_started = Instant::now();
        let addresses = network
            .addresses(&origin)
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let mut reachable = Vec::new();
        let mut reason = "the host has no address".to_owned();
        for address in addresses {
            match timeout(connect_timeout, network.open(&origin, address)).await {
                Ok(Ok(_)) => reachable.push(address),
                Ok(Err(error)) => reason = format!("{address}: {error}"),
                Err(_) => {
                    reason = format!(
                        "{address}: no connection within {}",
                        humantime::format_duration(connect_timeout)
                    );
                }
            }
        }
        reachable.dedup();
        if reachable.is_empty() {
            return Err(unreachable(reason));
        }
        let host = match network.ttl(&origin) {
            None => Host::fixed(reachable),
            Some(ttl) => {
                let name = (origin.host.as_str(), origin.port);
                Host::named(name, (reachable, lookup_started), ttl, Arc::new(SystemResolver))
            }
        };
        hosts.insert(origin, host);
    }
    Ok(Addresses(hosts))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use bytes::Bytes;
    use http::Method;

    use super::*;
    use crate::{Protocol, Target};

    #[tokio::test]
    async fn only_names_are_resolved_again_and_only_with_a_ttl() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        for (host, dns_ttl, expected) in [
            ("localhost", Some(Duration::ZERO), true),
            ("localhost", None, false),
            ("127.0.0.1", Some(Duration::ZERO), false),
        ] {
            let target = Target::new(Method::GET, &format!("http://{host}:{port}/")).unwrap();
            let mix = Mix::new(vec![target], &[], &Bytes::new(), Protocol::Http1).unwrap();
            let network = Network {
                dns_ttl,
                ..Network::default()
            };
            let addresses = probe(&mix, &network, Duration::from_secs(10)).await.unwrap();
            let is_resolved_again = addresses.0.values().all(Host::is_resolved_again);
            assert_eq!(is_resolved_again, expected, "{host} with a TTL of {dns_ttl:?}");
        }
    }
}
