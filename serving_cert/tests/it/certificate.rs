//! The certificate under the eyes of a strict client.

use crate::support::{SERVER_NAME, VALIDITY, identity, start, verify};
use rustls::{CertificateError, Error, crypto::ring};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serving_cert::{bundle, certificate::ServingCertificate};
use time::Duration;

fn issue() -> (ServingCertificate, String) {
    let certificate = ServingCertificate::issue(&identity("adapter-0"), VALIDITY, start()).expect("issued");
    let bundle = bundle::encode(std::slice::from_ref(&certificate.authority));
    (certificate, bundle)
}

#[test]
fn a_strict_client_accepts_every_name_of_the_service_and_no_other() {
    let (certificate, bundle) = issue();
    for name in [SERVER_NAME, "prometheus-adapter.monitoring.svc.cluster.local"] {
        assert_eq!(verify(&bundle, &certificate, name, start()), Ok(()), "{name}");
    }
    for name in [
        "prometheus-adapter.elsewhere.svc",
        "adapter.monitoring.svc",
        "prometheus-adapter",
    ] {
        let refused = verify(&bundle, &certificate, name, start());
        assert!(
            matches!(
                refused,
                Err(Error::InvalidCertificate(
                    CertificateError::NotValidForNameContext { .. }
                ))
            ),
            "{name}: {refused:?}"
        );
    }
}

#[test]
fn another_authority_is_not_trusted_even_of_the_same_pod() {
    let (certificate, _) = issue();
    let (_, other) = issue();
    let refused = verify(&other, &certificate, SERVER_NAME, start());
    assert!(
        matches!(
            refused,
            Err(Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature
            ))
        ),
        "{refused:?}"
    );
}

#[test]
fn it_is_valid_for_as_long_as_asked_and_for_clocks_that_are_a_little_behind() {
    let (certificate, bundle) = issue();
    let at = |offset| verify(&bundle, &certificate, SERVER_NAME, start() + offset).is_ok();
    assert!(at(-Duration::minutes(4)));
    assert!(!at(-Duration::minutes(6)));
    assert!(at(Duration::days(30)));
    assert!(!at(Duration::days(30) + Duration::SECOND));
}

#[test]
fn renewal_is_due_after_about_two_thirds_and_not_for_all_at_the_same_moment() {
    let times: Vec<_> = (0..8).map(|_| issue().0.renewal_time() - start()).collect();
    for time in &times {
        assert!(*time > Duration::days(17) && *time < Duration::days(22), "{time}");
    }
    assert!(times.iter().any(|time| *time != times[0]), "all at {}", times[0]);

    // The time that it is valid before it was made is no part of its life.
    let minute = Duration::MINUTE.unsigned_abs();
    let short = ServingCertificate::issue(&identity("adapter-0"), minute, start()).expect("issued");
    let time = short.renewal_time() - start();
    assert!(
        time >= Duration::seconds(36) && time <= Duration::seconds(42),
        "{time}"
    );
}

#[test]
fn a_server_can_be_started_with_the_chain_and_the_key() {
    let (certificate, _) = issue();
    let chain = CertificateDer::pem_slice_iter(certificate.chain_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes()).expect("a key");
    rustls::ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("the key belongs to the certificate");
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let ((one, _), (other, _)) = (issue(), issue());
    let error = ServingCertificate::parse(&one.chain_pem, &other.key_pem)
        .err()
        .expect("refused");
    assert!(error.to_string().contains("does not belong"), "{error}");
}

#[test]
fn it_is_used_again_only_for_the_same_names_and_before_its_renewal() {
    let (certificate, _) = issue();
    let mut renamed = identity("adapter-0");
    renamed.dns_names[0] = "elsewhere".to_owned();
    assert!(certificate.serves(&identity("adapter-0"), start()));
    assert!(!certificate.serves(&renamed, start()));
    assert!(!certificate.serves(&identity("adapter-0"), start() + Duration::days(29)));
}
