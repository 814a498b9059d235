//! A certificate authority that signs one serving certificate, and whose key is then discarded.

use anyhow::{Context, Result, bail, ensure};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, PublicKeyData,
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use std::time::Duration;
use time::OffsetDateTime;
use x509_parser::{extensions::GeneralName, prelude::X509Certificate};

/// The organisation in the subject of every authority that this tool creates. It identifies them in a `caBundle`.
pub const ORGANISATION: &str = "serving-cert";

/// Certificates are valid from this long before their creation, because the clocks of other nodes may be behind.
const CLOCK_SKEW: Duration = Duration::from_mins(5);

/// RFC 5280, appendix A.1, `ub-common-name`.
const COMMON_NAME_LENGTH: usize = 64;

/// The identity that a certificate is issued for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The names that clients verify. The API server uses the first one.
    pub dns_names: Vec<String>,
    /// The pod that issues the certificate. Part of the subject of the authority.
    pub pod: String,
}

impl Identity {
    /// The identity of the server behind a Service: `NAME.NAMESPACE.svc`, which the API server uses, and the full name.
    #[must_use]
    pub fn of_service(name: &str, namespace: &str, cluster_domain: &str, pod: &str) -> Self {
        let short = format!("{name}.{namespace}.svc");
        let full = format!("{short}.{cluster_domain}");
        Self {
            dns_names: vec![short, full],
            pod: pod.to_owned(),
        }
    }

    /// The common name of this pod's authorities: the end of the pod's name, which differs between pods.
    #[must_use]
    pub fn common_name(&self) -> &str {
        let start = self.pod.len().saturating_sub(COMMON_NAME_LENGTH);
        self.pod.get(start..).unwrap_or(&self.pod)
    }
}

/// A serving certificate, its key, and the authority that signed it.
pub struct ServingCertificate {
    /// The serving certificate, followed by the certificate of its authority, in PEM.
    pub chain_pem: String,
    /// The private key of the serving certificate, in PEM (PKCS 8). Never logged.
    pub key_pem: String,
    /// The certificate of the authority.
    pub authority: CertificateDer<'static>,
    /// The start of the validity.
    pub not_before: OffsetDateTime,
    /// The end of the validity.
    pub not_after: OffsetDateTime,
    dns_names: Vec<String>,
    /// A random number from 0 to 255, derived from the certificate, so that it does not change between reads.
    jitter: u8,
}

impl ServingCertificate {
    /// Creates an authority and a serving certificate with separate keys (ECDSA P-256), both valid for `validity` from `now`.
    /// The key of the authority is discarded before this function returns.
    ///
    /// # Errors
    /// When a name is not a DNS name, or the system provides no random numbers.
    pub fn issue(identity: &Identity, validity: Duration, now: OffsetDateTime) -> Result<Self> {
        let (not_before, not_after) = (now - CLOCK_SKEW, now + validity);

        let mut authority = CertificateParams::default();
        authority.distinguished_name = authority_subject(identity);
        authority.not_before = not_before;
        authority.not_after = not_after;
        // The authority may sign servers, but no further authorities.
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

        let mut serving = CertificateParams::new(identity.dns_names.clone())?;
        // Clients ignore the subject, but it must differ from the subject of the authority: some verifiers reject a
        // certificate whose subject equals its issuer as self-issued.
        serving.distinguished_name = DistinguishedName::new();
        serving.not_before = not_before;
        serving.not_after = not_after;
        serving.is_ca = IsCa::ExplicitNoCa;
        serving.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        serving.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        serving.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = serving.signed_by(&key, &authority)?;

        Self::parse(&(certificate.pem() + &authority.pem()), &key.serialize_pem())
    }

    /// Parses the PEM texts of a certificate that [`ServingCertificate::issue`] created.
    ///
    /// # Errors
    /// When the chain is not a serving certificate followed by its authority, or the key belongs to another certificate.
    pub fn parse(chain_pem: &str, key_pem: &str) -> Result<Self> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain_pem.as_bytes())
            .collect::<Result<_, _>>()
            .context("the certificate chain is not PEM")?;
        let [serving, authority] = chain.as_slice() else {
            bail!(
                "expected a serving certificate and its authority, found {} certificates",
                chain.len()
            );
        };
        let parsed = parse_der(serving)?;
        let key = KeyPair::from_pem(key_pem).context("the private key cannot be read")?;
        ensure!(
            parsed.public_key().subject_public_key.data.as_ref() == key.der_bytes(),
            "the private key does not belong to the certificate"
        );
        let dns_names = parsed
            .subject_alternative_name()
            .context("the subject alternative names cannot be read")?
            .map(|extension| extension.value.general_names.as_slice())
            .unwrap_or_default()
            .iter()
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                _ => None,
            })
            .collect();
        Ok(Self {
            not_before: parsed.validity().not_before.to_datetime(),
            not_after: parsed.validity().not_after.to_datetime(),
            dns_names,
            // The last byte of the signature is random.
            jitter: serving.last().copied().unwrap_or_default(),
            chain_pem: chain_pem.to_owned(),
            key_pem: key_pem.to_owned(),
            authority: authority.clone(),
        })
    }

    /// The time of the renewal: after 60 to 70 % of the validity. It differs between certificates, so that the pods of one
    /// Deployment do not renew at the same time.
    #[must_use]
    pub fn renewal_time(&self) -> OffsetDateTime {
        let created = self.not_before + CLOCK_SKEW;
        let life = self.not_after - created;
        created + life * 0.6 + life * (0.1 * f64::from(self.jitter) / 255.0)
    }

    /// Whether a server can use the certificate for `identity` at `now`.
    #[must_use]
    pub fn serves(&self, identity: &Identity, now: OffsetDateTime) -> bool {
        self.dns_names == identity.dns_names && now >= self.not_before && now < self.not_after
    }
}

/// Parses the fields of a certificate.
///
/// # Errors
/// When the bytes are not an X.509 certificate.
pub fn parse_der<'der>(certificate: &'der CertificateDer<'_>) -> Result<X509Certificate<'der>> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).context("not an X.509 certificate")?;
    Ok(parsed)
}

fn authority_subject(identity: &Identity) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, ORGANISATION);
    name.push(DnType::CommonName, identity.common_name());
    name
}
