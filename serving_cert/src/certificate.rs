//! A certificate authority that signs one serving certificate and whose key is forgotten at once.

use anyhow::{Context, Result, bail, ensure};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, PublicKeyData,
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use std::time::Duration;
use time::OffsetDateTime;
use x509_parser::{extensions::GeneralName, prelude::X509Certificate};

/// The organisation in the subject of every authority made here; tells ours from anybody else's in a `caBundle`.
pub const ORGANISATION: &str = "serving-cert";

/// Certificates are valid from a little before now, because the clocks of other nodes may be behind.
const CLOCK_SKEW: Duration = Duration::from_mins(5);

/// RFC 5280, appendix A.1, `ub-common-name`.
const COMMON_NAME_LENGTH: usize = 64;

/// What a certificate is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The names that callers verify; the first is the one that the API server uses.
    pub dns_names: Vec<String>,
    /// The pod that makes it; names the authority.
    pub pod: String,
}

impl Identity {
    /// The identity of a Service's server: `NAME.NAMESPACE.svc`, as the API server calls it, and the full name.
    #[must_use]
    pub fn of_service(name: &str, namespace: &str, cluster_domain: &str, pod: &str) -> Self {
        let short = format!("{name}.{namespace}.svc");
        let full = format!("{short}.{cluster_domain}");
        Self {
            dns_names: vec![short, full],
            pod: pod.to_owned(),
        }
    }

    /// The common name of this pod's authorities: the end of the pod's name, which is the part that differs.
    #[must_use]
    pub fn common_name(&self) -> &str {
        let start = self.pod.len().saturating_sub(COMMON_NAME_LENGTH);
        self.pod.get(start..).unwrap_or(&self.pod)
    }
}

/// A serving certificate, its key, and the authority that signed it.
pub struct ServingCertificate {
    /// The serving certificate, followed by its authority's, in PEM.
    pub chain_pem: String,
    /// The serving certificate's private key, in PEM (PKCS 8). Never logged.
    pub key_pem: String,
    /// The authority's certificate.
    pub authority: CertificateDer<'static>,
    /// The first instant at which it is valid.
    pub not_before: OffsetDateTime,
    /// The last instant at which it is valid.
    pub not_after: OffsetDateTime,
    dns_names: Vec<String>,
    /// Between 0 and 255, by chance, and the same whenever this certificate is read again.
    jitter: u8,
}

impl ServingCertificate {
    /// Makes an authority and a serving certificate, both valid for `validity` from `now`, with keys of their own
    /// (ECDSA P-256). The authority's key does not survive this call.
    ///
    /// # Errors
    /// When a name is not a DNS name, or the system gives no randomness.
    pub fn issue(identity: &Identity, validity: Duration, now: OffsetDateTime) -> Result<Self> {
        let (not_before, not_after) = (now - CLOCK_SKEW, now + validity);

        let mut authority = CertificateParams::default();
        authority.distinguished_name = authority_subject(identity);
        authority.not_before = not_before;
        authority.not_after = not_after;
        // It signs servers only, no further authorities.
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

        let mut serving = CertificateParams::new(identity.dns_names.clone())?;
        // Nobody goes by it, but it must differ from the authority's: a certificate whose subject is its issuer counts as
        // self-issued, and some verifiers stop there.
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

    /// Reads what [`ServingCertificate::issue`] made.
    ///
    /// # Errors
    /// When it is not a serving certificate followed by its authority, or the key is another certificate's.
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
            // The last byte of the signature's second number.
            jitter: serving.last().copied().unwrap_or_default(),
            chain_pem: chain_pem.to_owned(),
            key_pem: key_pem.to_owned(),
            authority: authority.clone(),
        })
    }

    /// When to make the next one: after about two thirds of its life (60 to 70 % from when it was made), at a moment
    /// that differs between certificates, so that the pods of one Deployment do not all renew at once.
    #[must_use]
    pub fn renewal_time(&self) -> OffsetDateTime {
        let made = self.not_before + CLOCK_SKEW;
        let life = self.not_after - made;
        made + life * 0.6 + life * (0.1 * f64::from(self.jitter) / 255.0)
    }

    /// Whether it is still to be used at `now` for these names; otherwise a new one is due.
    #[must_use]
    pub fn serves(&self, identity: &Identity, now: OffsetDateTime) -> bool {
        self.dns_names == identity.dns_names && now >= self.not_before && now < self.renewal_time()
    }
}

/// Reads a certificate's fields.
///
/// # Errors
/// When it is not an X.509 certificate.
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
