//! What a `caBundle` should hold: the authorities of the servers that are running, and whatever others have put there.

use crate::certificate::{ORGANISATION, parse_der};
use pem::{EncodeConfig, LineEnding, Pem};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use time::OffsetDateTime;

/// The most authorities of ours in one bundle. Pods come and go, and leave theirs behind until it expires; nobody can sign
/// with them any more, but a bundle must not grow without end. About 1 KiB each.
pub const MOST_OF_OURS: usize = 16;

/// The most authorities of one pod: the one in use, and the one before or after it.
pub const MOST_OF_ONE_POD: usize = 2;

/// One certificate of the bundle and whose it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// Must be there: in use, or about to be.
    Required,
    /// An earlier one of this pod.
    ThisPod,
    /// Another pod's, made by this tool.
    OtherPod,
    /// Not made by this tool: never ours to remove, unless it has expired.
    Foreign,
}

/// The bundle to write, in PEM, or `None` when `current` is right already.
///
/// `required` are this pod's authorities, `common_name` is what their subjects say. Kept is what others have put there;
/// expired and unreadable certificates go, as do this pod's earlier ones beyond [`MOST_OF_ONE_POD`] and, oldest first,
/// other pods' beyond [`MOST_OF_OURS`].
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
        let seen = after.iter().any(|(other, _)| other == certificate);
        if !seen && let Some(owner) = classify(certificate, required, common_name, now) {
            after.push((certificate.clone(), owner));
        }
    }
    drop_oldest(&mut after, Owner::ThisPod, MOST_OF_ONE_POD, |owner| {
        matches!(owner, Owner::Required | Owner::ThisPod)
    });
    drop_oldest(&mut after, Owner::OtherPod, MOST_OF_OURS, |owner| {
        owner != Owner::Foreign
    });

    let after: Vec<CertificateDer<'static>> = after.into_iter().map(|(certificate, _)| certificate).collect();
    (unreadable || before != after).then(|| encode(&after))
}

/// Whose a certificate is; `None` when it is to be dropped: expired, or no certificate at all.
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

/// Removes those of `owner` from the front, which is the oldest end, until at most `most` of those that `counts` are left.
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

/// Certificates as PEM, one after the other.
#[must_use]
pub fn encode(certificates: &[CertificateDer<'_>]) -> String {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    certificates
        .iter()
        .map(|certificate| pem::encode_config(&Pem::new("CERTIFICATE", certificate.as_ref()), config))
        .collect()
}
