//! Connections to hosts: DNS or user-defined addresses, plain TCP or TLS.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::client::TlsStream;

use super::{target::Origin, tls::Tls};

/// An address that replaces DNS for a host and port, as in `curl --resolve`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolve {
    host: String,
    port: u16,
    address: IpAddr,
}

impl FromStr for Resolve {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (host, rest) = text.split_once(':')?;
            let (port, address) = rest.split_once(':')?;
            (!host.is_empty()).then_some(Self {
                host: host.to_ascii_lowercase(),
                port: port.parse().ok()?,
                address: address.trim_matches(['[', ']']).parse().ok()?,
            })
        };
        parse().ok_or_else(|| {
            format!(
                "`{text}` is not HOST:PORT:ADDRESS; write shop.example:443:127.0.0.1 or shop.example:443:[::1]"
            )
        })
    }
}

impl fmt::Display for Resolve {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}:{}", self.host, self.port, self.address)
    }
}

/// How the generator connects to hosts.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// Addresses that replace DNS.
    pub resolve: Vec<Resolve>,
    /// The maximum age of a DNS answer when a connection is opened; `None` for one lookup before the load.
    pub dns_ttl: Option<Duration>,
    /// The TLS configuration; required if a target uses `https://`.
    pub tls: Option<Tls>,
}

/// An open connection.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Network {
    /// Returns whether any certificate is accepted; `None` without TLS.
    #[must_use]
    pub fn is_insecure(&self) -> Option<bool> {
        self.tls.as_ref().map(Tls::is_insecure)
    }

    /// Returns all addresses of the host of the origin.
    pub(crate) async fn addresses(&self, origin: &Origin) -> io::Result<Vec<SocketAddr>> {
        let overrides = self.overrides(origin);
        if !overrides.is_empty() {
            return Ok(overrides);
        }
        Ok(lookup_host((origin.host.as_str(), origin.port)).await?.collect())
    }

    /// Returns the maximum age of the addresses; `None` for IP addresses, and for addresses that the user set.
    pub(crate) fn ttl(&self, origin: &Origin) -> Option<Duration> {
        let is_looked_up = self.overrides(origin).is_empty() && origin.host.parse::<IpAddr>().is_err();
        self.dns_ttl.filter(|_| is_looked_up)
    }

    /// Returns the addresses that the user set for the origin.
    fn overrides(&self, origin: &Origin) -> Vec<SocketAddr> {
        self.resolve
            .iter()
            .filter(|resolve| (&resolve.host, resolve.port) == (&origin.host, origin.port))
            .map(|resolve| SocketAddr::new(resolve.address, resolve.port))
            .collect()
    }

    /// Opens a connection to one address of the origin.
    pub(crate) async fn open(&self, origin: &Origin, address: SocketAddr) -> io::Result<Stream> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            Some(tls) if origin.is_tls => {
                let stream = tls.handshake(&origin.host, stream).await?;
                Ok(Stream::Tls(Box::new(stream)))
            }
            _ => Ok(Stream::Plain(stream)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dns_answers_expire() {
        let network = Network {
            resolve: vec!["shop.example:443:127.0.0.1".parse().unwrap()],
            dns_ttl: Some(Duration::ZERO),
            tls: None,
        };
        let ttl = |host: &str, port| {
            network.ttl(&Origin {
                is_tls: true,
                host: host.to_owned(),
                port,
            })
        };
        assert_eq!(ttl("shop.example", 80), Some(Duration::ZERO));
        assert_eq!(
            (ttl("shop.example", 443), ttl("127.0.0.1", 80), ttl("::1", 80)),
            (None, None, None)
        );
    }

    #[test]
    fn an_address_override_applies_to_one_host_and_port() {
        let resolve: Resolve = "Shop.example:443:[::1]".parse().unwrap();
        assert_eq!(
            resolve,
            Resolve {
                host: "shop.example".to_owned(),
                port: 443,
                address: "::1".parse().unwrap()
            }
        );
        assert_eq!(resolve.to_string().parse(), Ok(resolve));
        for text in [
            "shop.example",
            "shop.example:443",
            "shop.example:https:::1",
            ":1:::1",
            "h:1:h",
        ] {
            let error = text.parse::<Resolve>().unwrap_err();
            assert!(error.contains("HOST:PORT:ADDRESS"), "{error}");
        }
    }
}
