//! The certificate in use: that of the files, which are read again and again, or a self-signed one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::{self, ServerConfig, version};

use super::Terminator;
use super::metrics::TlsMetrics;
use crate::config::TlsConfig;
use crate::reload::{Follow, follow, read};

/// The names of a self-signed certificate. They only inform, because no client can verify it.
const SELF_SIGNED_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The validity of a self-signed certificate: longer than a process runs, so that it needs no renewal.
const SELF_SIGNED_VALIDITY: Duration = Duration::from_hours(10 * 365 * 24);

/// Self-signed certificates are valid from this long before their creation, because the clocks of clients may be behind.
const CLOCK_SKEW: Duration = Duration::from_mins(5);

/// The certificate in use.
pub(in crate::server) struct Certificate {
    settings: TlsConfig,
    source: Source,
    config: watch::Sender<Arc<ServerConfig>>,
    metrics: TlsMetrics,
}

impl Certificate {
    /// Loads the certificate.
    ///
    /// # Errors
    /// Names the file, the fault, and what to do.
    pub(in crate::server) async fn load(settings: &TlsConfig, metrics: TlsMetrics) -> Result<Self> {
        let source = Source::read(settings).await?;
        let config = watch::Sender::new(source.server_config(&metrics)?);
        metrics.tls_certificate_last_reload_successful.set(1);
        Ok(Self {
            settings: settings.clone(),
            source,
            config,
            metrics,
        })
    }

    /// Returns what handshakes need to use the certificate of their time.
    pub(in crate::server) fn terminator(&self) -> Terminator {
        Terminator {
            config: self.config.subscribe(),
            metrics: self.metrics.clone(),
        }
    }

    /// Loads the certificate again whenever its files change. Never completes.
    pub(in crate::server) async fn follow_files(self) {
        let is_current = self.metrics.tls_certificate_last_reload_successful.clone();
        follow("certificate", is_current, self).await;
    }
}

impl Follow for Certificate {
    async fn apply(&mut self) -> Result<()> {
        let source = Source::read(&self.settings).await?;
        if source != self.source {
            // A new configuration has no sessions to resume. A resumed session would not show the new certificate.
            self.config.send_replace(source.server_config(&self.metrics)?);
            self.source = source;
        }
        Ok(())
    }
}

/// What a certificate is made from.
#[derive(PartialEq, Eq)]
enum Source {
    SelfSigned,
    Files { certificate: PemFile, key: PemFile },
}

#[derive(PartialEq, Eq)]
struct PemFile {
    path: PathBuf,
    text: String,
}

impl PemFile {
    fn new(variable: &str, path: &Path, text: io::Result<String>) -> Result<Self> {
        let path = path.to_owned();
        match text {
            Ok(text) => Ok(Self { path, text }),
            Err(reason) => Err(anyhow!(
                "the file {} cannot be read: {reason}; create it, or set {variable} to another file",
                path.display()
            )),
        }
    }
}

impl Source {
    async fn read(settings: &TlsConfig) -> Result<Self> {
        let (Some(certificate_file), Some(key_file)) = (&settings.certificate_file, &settings.key_file)
        else {
            return Ok(Self::SelfSigned);
        };
        let (certificate, key) = (read(certificate_file).await, read(key_file).await);
        let is_missing = |text: &io::Result<String>| {
            let error = text.as_ref().err();
            error.is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        if settings.self_signed && is_missing(&certificate) && is_missing(&key) {
            return Ok(Self::SelfSigned);
        }
        Ok(Self::Files {
            certificate: PemFile::new("TLS_CERT_FILE", certificate_file, certificate)?,
            key: PemFile::new("TLS_KEY_FILE", key_file, key)?,
        })
    }

    /// Returns the configuration for new connections. Logs and exports the validity of the certificate.
    fn server_config(&self, metrics: &TlsMetrics) -> Result<Arc<ServerConfig>> {
        let certified = match self {
            Self::SelfSigned => self_signed()?,
            Self::Files { certificate, key } => certified(certificate, key)?,
        };
        let end = end_of_validity(&certified.cert)?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&version::TLS12, &version::TLS13])?
            .with_no_client_auth()
            // The same certificate for every name (SNI). The client verifies the name.
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];

        metrics.in_use_until(end);
        tracing::info!(tls.not_after = %end, "a certificate is in use");
        if *self == Self::SelfSigned {
            tracing::warn!("the certificate is self-signed: no client can verify it");
        }
        if end <= OffsetDateTime::now_utc() {
            tracing::warn!(tls.not_after = %end, "a certificate of the chain has expired: clients may refuse it");
        }
        Ok(Arc::new(config))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Parses a certificate with its chain and its key. No error contains a part of the key.
fn certified(certificate: &PemFile, key: &PemFile) -> Result<CertifiedKey> {
    let (certificate_path, key_path) = (certificate.path.display(), key.path.display());
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate.text.as_bytes())
        .collect::<Result<_, _>>()
        // Without the cause, which contains bytes of the file: the file may be a key by mistake.
        .map_err(|_| anyhow!("the file {certificate_path} (TLS_CERT_FILE) is not in PEM format"))?;
    ensure!(
        !chain.is_empty(),
        "the file {certificate_path} (TLS_CERT_FILE) contains no certificate in PEM format"
    );
    let key = PrivateKeyDer::from_pem_slice(key.text.as_bytes()).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            anyhow!("the file {key_path} (TLS_KEY_FILE) contains no private key in PEM format without a passphrase")
        }
        _ => anyhow!("the file {key_path} (TLS_KEY_FILE) is not in PEM format"),
    })?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            anyhow!("the key in {key_path} does not belong to the certificate in {certificate_path}")
        }
        error => anyhow!("{certificate_path} and {key_path} cannot be used: {error}"),
    })
}

/// Makes a certificate for this process. Its key exists only in the memory of the process.
fn self_signed() -> Result<CertifiedKey> {
    let now = OffsetDateTime::now_utc();
    let mut certificate = CertificateParams::new(SELF_SIGNED_NAMES.map(str::to_owned))?;
    certificate.distinguished_name = DistinguishedName::new();
    certificate
        .distinguished_name
        .push(DnType::CommonName, "self-signed");
    certificate.not_before = now - CLOCK_SKEW;
    certificate.not_after = now + SELF_SIGNED_VALIDITY;
    let key = KeyPair::generate()?;
    let chain = vec![certificate.self_signed(&key)?.der().clone()];
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    Ok(CertifiedKey::from_der(chain, key.into(), &provider())?)
}

/// Returns the end of the validity of a chain: that of its first certificate to expire.
fn end_of_validity(chain: &[CertificateDer<'_>]) -> Result<OffsetDateTime> {
    let mut ends = Vec::new();
    for certificate in chain {
        let (_, parsed) =
            x509_parser::parse_x509_certificate(certificate).context("a certificate cannot be parsed")?;
        ends.push(parsed.validity().not_after.to_datetime());
    }
    ends.into_iter().min().context("there is no certificate")
}
