//! Verifies issued certificates as a strict client does.

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
        let result = verify(&bundle, &certificate, name, start());
        assert!(
            matches!(
                result,
                Err(Error::InvalidCertificate(
                    CertificateError::NotValidForNameContext { .. }
                ))
            ),
            "{name}: {result:?}"
        );
    }
}

#[test]
fn another_authority_of_the_same_pod_is_not_trusted() {
    let (certificate, _) = issue();
    let (_, other) = issue();
    let result = verify(&other, &certificate, SERVER_NAME, start());
    assert!(
        matches!(
            result,
            Err(Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature
            ))
        ),
        "{result:?}"
    );
}

#[test]
fn a_certificate_is_valid_for_the_configured_time_and_for_clocks_up_to_5_minutes_behind() {
    let (certificate, bundle) = issue();
    let at = |offset| verify(&bundle, &certificate, SERVER_NAME, start() + offset).is_ok();
    assert!(at(-Duration::minutes(4)));
    assert!(!at(-Duration::minutes(6)));
    assert!(at(Duration::days(30)));
    assert!(!at(Duration::days(30) + Duration::SECOND));
}

#[test]
fn renewal_is_due_after_about_two_thirds_of_the_validity_with_jitter() {
    let times: Vec<_> = (0..8).map(|_| issue().0.renewal_time() - start()).collect();
    for time in &times {
        assert!(*time > Duration::days(17) && *time < Duration::days(22), "{time}");
    }
    assert!(
        times.iter().any(|time| *time != times[0]),
        "all certificates renew at {}",
        times[0]
    );

    // The renewal time does not depend on the five minutes of clock skew before the creation.
    let minute = Duration::MINUTE.unsigned_abs();
    let short = ServingCertificate::issue(&identity("adapter-0"), minute, start()).expect("issued");
    let time = short.renewal_time() - start();
    assert!(
        time >= Duration::seconds(36) && time <= Duration::seconds(42),
        "{time}"
    );
}

#[test]
fn a_tls_server_accepts_the_chain_and_the_key() {
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
fn the_key_of_another_certificate_is_rejected() {
    let ((one, _), (other, _)) = (issue(), issue());
    let error = ServingCertificate::parse(&one.chain_pem, &other.key_pem)
        .err()
        .expect("rejected");
    assert!(error.to_string().contains("does not belong"), "{error}");
}

#[test]
fn a_certificate_serves_only_its_names_until_it_expires() {
    let (certificate, _) = issue();
    let mut renamed = identity("adapter-0");
    renamed.dns_names[0] = "elsewhere".to_owned();
    assert!(certificate.serves(&identity("adapter-0"), start()));
    assert!(!certificate.serves(&renamed, start()));
    assert!(certificate.serves(&identity("adapter-0"), start() + Duration::days(29)));
    assert!(!certificate.serves(&identity("adapter-0"), start() + Duration::days(31)));
}
