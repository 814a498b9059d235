//! TLS: the certificates that a connection accepts, and the certificate that it presents.

use std::{fmt, fs, io, path::Path, sync::Arc};

use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
        client::{
            WantsClientCert,
            danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        },
        crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
        pki_types::{
            CertificateDer, PrivateKeyDer, ServerName, UnixTime,
            pem::{self, PemObject},
        },
        sign::{CertifiedKey, SingleCertAndKey},
    },
};

use super::mix::Protocol;

/// An invalid TLS configuration.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct BadTls(String);

/// The certificate that the client presents, with its private key.
#[derive(Clone, Debug)]
pub struct ClientCertificate(Arc<SingleCertAndKey>);

impl ClientCertificate {
    /// Reads the certificate, its intermediate certificates and its private key from files in PEM format.
    ///
    /// # Errors
    /// When a file cannot be read or contains no usable PEM block, or when the key does not belong to the certificate.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, BadTls> {
        let chain = read_certificates(certificate)?;
        let pem = read_file(key)?;
        let private = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
            pem::Error::NoItemsFound => bad_file(key, "no private key in PEM format without encryption"),
            other => bad_file(key, other),
        })?;
        let certified = CertifiedKey::from_der(chain, private, &crypto_provider());
        let certified = certified.map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => bad_file(
                key,
                format_args!(
                    "the key does not belong to the certificate in {}",
                    certificate.display()
                ),
            ),
            rustls::Error::InvalidCertificate(_) => bad_file(certificate, error),
            _ => bad_file(key, error),
        })?;
        Ok(Self(Arc::new(certified.into())))
    }
}

/// How a connection verifies the certificate of the server, and which certificate the client presents.
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
    /// Presents `client` if the server asks for a certificate.
    ///
    /// # Errors
    /// When `ca` cannot be read, or there is no certificate authority.
    pub fn verifying(
        ca: Option<&Path>,
        client: Option<ClientCertificate>,
        server_name: Option<ServerName<'static>>,
        protocol: Protocol,
    ) -> Result<Self, BadTls> {
        let roots = match ca {
            Some(path) => load_authorities(path)?,
            None => load_system_authorities()?,
        };
        let config = config_builder()?.with_root_certificates(roots);
        Ok(Self::new(
            with_client(config, client),
            server_name,
            protocol,
            false,
        ))
    }

    /// Accepts any certificate. Presents `client` if the server asks for a certificate.
    ///
    /// # Errors
    /// Never with the TLS versions in use.
    pub fn insecure(
        client: Option<ClientCertificate>,
        server_name: Option<ServerName<'static>>,
        protocol: Protocol,
    ) -> Result<Self, BadTls> {
        let config = config_builder()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AcceptAnyCertificate(crypto_provider())));
        Ok(Self::new(
            with_client(config, client),
            server_name,
            protocol,
            true,
        ))
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

    /// Returns whether any certificate is accepted.
    pub(crate) fn is_insecure(&self) -> bool {
        self.is_insecure
    }

    /// Starts TLS on an open connection to `host`.
    pub(crate) async fn handshake(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
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

fn with_client(
    builder: rustls::ConfigBuilder<ClientConfig, WantsClientCert>,
    client: Option<ClientCertificate>,
) -> ClientConfig {
    match client {
        Some(ClientCertificate(certified)) => builder.with_client_cert_resolver(certified),
        None => builder.with_no_client_auth(),
    }
}

fn bad_file(path: &Path, problem: impl fmt::Display) -> BadTls {
    BadTls(format!("{}: {problem}", path.display()))
}

fn read_file(path: &Path) -> Result<Vec<u8>, BadTls> {
    fs::read(path).map_err(|error| bad_file(path, error))
}

/// Reads the certificates of a file in PEM format; at least one.
fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, BadTls> {
    let pem = read_file(path)?;
    let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| bad_file(path, error))?;
    if certificates.is_empty() {
        return Err(bad_file(path, "no certificate in PEM format"));
    }
    Ok(certificates)
}

fn load_authorities(path: &Path) -> Result<RootCertStore, BadTls> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(path)? {
        roots.add(certificate).map_err(|error| bad_file(path, error))?;
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
