//! The content of a `caBundle`: the authorities of the running servers, and certificates that others have added.

use crate::certificate::{ORGANISATION, parse_der};
use pem::{EncodeConfig, LineEnding, Pem};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use time::OffsetDateTime;

/// The largest number of this tool's authorities in one bundle, of about 1 KiB each. The authority of a deleted pod stays in
/// the bundle until it expires. This is safe, because nobody has its key, but the bundle must not grow without limit.
pub const MAX_AUTHORITIES: usize = 16;

/// The largest number of authorities of one pod: the one in use, and the previous or the next one.
pub const MAX_AUTHORITIES_PER_POD: usize = 2;

/// The owner of a certificate in the bundle.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// This pod: in use, or about to be. It must be in the bundle.
    Required,
    /// This pod: an earlier authority.
    ThisPod,
    /// Another pod that runs this tool.
    OtherPod,
    /// Somebody else. This tool removes such a certificate only after it has expired.
    Foreign,
}

/// Returns the bundle to write, in PEM, or `None` if `current` needs no change.
///
/// `required` are this pod's authorities, with `common_name` in their subjects. Certificates of others stay. Expired and
/// unreadable certificates are removed. So are the oldest of this pod's authorities beyond [`MAX_AUTHORITIES_PER_POD`], and the oldest of
/// other pods' authorities beyond [`MAX_AUTHORITIES`].
#[must_use]
pub fn merge(
    current: &[u8],
    required: &[CertificateDer<'static>],
    common_name: &str,
    now: OffsetDateTime,
) -> Option<String> {
    let mut unreadable = false;
    let before: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(current)
        .filter_map(|certificate| {
            unreadable |= certificate.is_err();
            certificate.ok()
        })
        .collect();

    let mut after: Vec<(CertificateDer<'static>, Owner)> = Vec::new();
    for certificate in before.iter().chain(required) {
        let is_known = after.iter().any(|(other, _)| other == certificate);
        if !is_known && let Some(owner) = classify(certificate, required, common_name, now) {
            after.push((certificate.clone(), owner));
        }
    }
    drop_oldest(&mut after, Owner::ThisPod, MAX_AUTHORITIES_PER_POD, |owner| {
        matches!(owner, Owner::Required | Owner::ThisPod)
    });
    drop_oldest(&mut after, Owner::OtherPod, MAX_AUTHORITIES, |owner| {
        owner != Owner::Foreign
    });

    let after: Vec<CertificateDer<'static>> = after.into_iter().map(|(certificate, _)| certificate).collect();
    (unreadable || before != after).then(|| encode(&after))
}

/// Returns the owner of a certificate. `None` if the certificate has expired or is unreadable.
fn classify(
    certificate: &CertificateDer<'_>,
    required: &[CertificateDer<'static>],
    common_name: &str,
    now: OffsetDateTime,
) -> Option<Owner> {
    if required.contains(certificate) {
        return Some(Owner::Required);
    }
    let parsed = parse_der(certificate).ok()?;
    if parsed.validity().not_after.to_datetime() < now {
        return None;
    }
    let subject = parsed.subject();
    let organisation = subject.iter_organization().find_map(|value| value.as_str().ok());
    let name = subject.iter_common_name().find_map(|value| value.as_str().ok());
    Some(match (organisation, name) {
        (Some(ORGANISATION), Some(name)) if name == common_name => Owner::ThisPod,
        (Some(ORGANISATION), _) => Owner::OtherPod,
        _ => Owner::Foreign,
    })
}

/// Removes certificates of `owner` until `counts` selects at most `most` certificates of the bundle. Removes the oldest first:
/// they are at the front.
fn drop_oldest(
    bundle: &mut Vec<(CertificateDer<'static>, Owner)>,
    owner: Owner,
    most: usize,
    counts: impl Fn(Owner) -> bool,
) {
    let mut surplus = bundle
        .iter()
        .filter(|(_, owner)| counts(*owner))
        .count()
        .saturating_sub(most);
    bundle.retain(|(_, other)| {
        let drop = surplus > 0 && *other == owner;
        surplus -= usize::from(drop);
        !drop
    });
}

/// Returns the certificates as concatenated PEM blocks.
#[must_use]
pub fn encode(certificates: &[CertificateDer<'_>]) -> String {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    certificates
        .iter()
        .map(|certificate| pem::encode_config(&Pem::new("CERTIFICATE", certificate.as_ref()), config))
        .collect()
}
