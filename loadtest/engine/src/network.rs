//! Connections to hosts: DNS or user-defined addresses, plain TCP or TLS.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    path::Path,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use thiserror::Error;
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
        pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    },
};

use super::{mix::Protocol, target::Origin};

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

/// An invalid TLS configuration.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct BadTls(String);

/// How a connection verifies the certificate of the server.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ClientConfig>,
    /// The server name to send (SNI) and to verify; `None` for the host of the URL.
    server_name: Option<ServerName<'static>>,
    /// Whether any certificate is accepted.
    is_insecure: bool,
}

impl Tls {
    /// Verifies certificates with the authorities in `ca`, a file in PEM format. `None` uses those of this machine.
    ///
    /// # Errors
    /// When `ca` cannot be read, or there is no certificate authority.
    pub fn verifying(
        ca: Option<&Path>,
        server_name: Option<ServerName<'static>>,
        protocol: Protocol,
    ) -> Result<Self, BadTls> {
        let roots = match ca {
            Some(path) => load_authorities(path)?,
            None => load_system_authorities()?,
        };
        let config = config_builder()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self::new(config, server_name, protocol, false))
    }

    /// Accepts any certificate.
    ///
    /// # Errors
    /// Never with the TLS versions in use.
    pub fn insecure(server_name: Option<ServerName<'static>>, protocol: Protocol) -> Result<Self, BadTls> {
        let config = config_builder()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AcceptAnyCertificate(crypto_provider())))
            .with_no_client_auth();
        Ok(Self::new(config, server_name, protocol, true))
    }

    fn new(
        mut config: ClientConfig,
        server_name: Option<ServerName<'static>>,
        protocol: Protocol,
        is_insecure: bool,
    ) -> Self {
        config.alpn_protocols = vec![protocol.alpn().to_vec()];
        Self {
            config: Arc::new(config),
            server_name,
            is_insecure,
        }
    }

    async fn handshake(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned())
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?,
        };
        let stream = TlsConnector::from(Arc::clone(&self.config))
            .connect(name, stream)
            .await
            .map_err(|error| io::Error::new(error.kind(), format!("TLS: {error}")))?;
        // A server without ALPN uses HTTP/1.1.
        let wants_http2 = self.config.alpn_protocols[0] == b"h2";
        if wants_http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(io::Error::other("the server does not speak HTTP/2"));
        }
        Ok(stream)
    }
}

fn crypto_provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn config_builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, BadTls> {
    ClientConfig::builder_with_provider(crypto_provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| BadTls(error.to_string()))
}

fn load_authorities(path: &Path) -> Result<RootCertStore, BadTls> {
    let bad = |why: String| BadTls(format!("{}: {why}", path.display()));
    let pem = fs::read(path).map_err(|error| bad(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots.add(certificate).map_err(|error| bad(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(bad("no certificate in PEM format".to_owned()));
    }
    Ok(roots)
}

fn load_system_authorities() -> Result<RootCertStore, BadTls> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(BadTls(
            "this machine has no certificate authorities; install ca-certificates, or pass a file with --cacert"
                .to_owned(),
        ));
    }
    Ok(roots)
}

/// Accepts every certificate, but still verifies the signatures with the key of the certificate.
#[derive(Debug)]
struct AcceptAnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
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
        self.tls.as_ref().map(|tls| tls.is_insecure)
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
