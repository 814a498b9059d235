//! One connection to each host before any load: an unreachable one is a mistake in the command, not a result.

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

/// Where each origin of a mix is reached: resolved before the load, and again in it where [`Network::dns_ttl`] asks for it.
#[derive(Clone, Debug)]
pub struct Addresses(pub(crate) BTreeMap<Origin, Host>);

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
/// When a host does not resolve, or none of its addresses accepts a connection within `patience`, or TLS fails.
pub async fn probe(mix: &Mix, network: &Network, patience: Duration) -> Result<Addresses, Unreachable> {
    let mut reached = BTreeMap::new();
    for target in mix.targets() {
        let origin = target.origin();
        if reached.contains_key(&origin) {
            continue;
        }
        let unreachable = |why: String| Unreachable {
            host: origin.host.clone(),
            port: origin.port,
            why,
        };
        let began = Instant::now();
        let addresses = network
            .addresses(&origin)
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let mut answering = Vec::new();
        let mut why = "it has no address".to_owned();
        for address in addresses {
            match timeout(patience, network.open(&origin, address)).await {
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
        let host = match network.ttl(&origin) {
            None => Host::fixed(answering),
            Some(ttl) => {
                let name = (origin.host.as_str(), origin.port);
                Host::named(name, (answering, began), ttl, Arc::new(SystemResolver))
            }
        };
        reached.insert(origin, host);
    }
    Ok(Addresses(reached))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use bytes::Bytes;
    use http::Method;

    use super::*;
    use crate::{Protocol, Target};

    #[tokio::test]
    async fn a_name_is_looked_up_again_where_that_is_asked_for_and_an_address_never() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        for (host, dns_ttl, again) in [
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
            let is_looked_up = addresses.0.values().all(Host::is_looked_up_again);
            assert_eq!(is_looked_up, again, "{host} with a ttl of {dns_ttl:?}");
        }
    }
}
