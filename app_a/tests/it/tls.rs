//! HTTPS: the jobs over both protocols, and the certificate that the binary starts with.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::Version;
use rustix::process::Signal;
use tokio::time::Instant;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, DigitallySignedStruct, SignatureScheme};
use wiring::exposition;

use super::mount::Mount;
use super::process::{Service, TEST_TIMEOUT, free_address, printed};
use super::support::start_app_b;
use super::tls_client::{Authority, Client, FUTURE, FUTURE_SECONDS, PAST, Reply};

const APP_A: &str = env!("CARGO_BIN_EXE_app_a");

/// Starts the binary with TLS and a new `app_b`. Returns the address of the TLS listener, too.
fn start(variables: &[(&str, &str)]) -> (Service, SocketAddr) {
    let (address, app_b) = (free_address(), format!("http://{}", start_app_b(&[])));
    let listen = address.to_string();
    let common = [
        ("TLS_LISTEN", &*listen),
        ("APP_B_URL", &app_b),
        ("DRAIN_DELAY", "0s"),
    ];
    (Service::start(APP_A, &[&common, variables].concat()), address)
}

/// Starts the binary with the certificate of a mount. It logs everything.
fn start_with(files: &Mount) -> (Service, SocketAddr) {
    let [certificate, key] = ["tls.crt", "tls.key"].map(|name| files.file(name).display().to_string());
    start(&[
        ("TLS_CERT_FILE", &certificate),
        ("TLS_KEY_FILE", &key),
        ("LOG_FILTER", "trace"),
    ])
}

/// Expects no 20 characters of a key, as text or as numbers.
fn expect_no_part_of(key: &str, printed: &str) {
    let base64: String = key.lines().filter(|line| !line.starts_with("-----")).collect();
    assert!(base64.len() > 100, "{base64}");
    for part in base64.as_bytes().windows(20) {
        let text = str::from_utf8(part).unwrap();
        let numbers = format!("{part:?}");
        let numbers = numbers.trim_matches(['[', ']']);
        assert!(
            !printed.contains(text) && !printed.contains(numbers),
            "{text} in {printed}"
        );
    }
}

async fn put_jobs(client: &Client, address: SocketAddr) -> Reply {
    let mut connection = client.open(address).await.unwrap();
    connection.send("PUT", "/jobs").await.unwrap()
}

fn jobs(version: Version) -> Reply {
    Reply {
        version,
        status: 200,
        body: "Jobs:\nTitle: Devops\nDescription: Awesome\n".to_owned(),
    }
}

async fn metric(service: &Service, name: &str) -> Option<f64> {
    exposition::value(&service.metrics().await, name)
}

#[tokio::test]
async fn put_jobs_is_answered_over_both_protocols() {
    let authority = Authority::new();
    let files = Mount::new(&authority.issue(FUTURE).files());
    let (service, address) = start_with(&files);
    let service = service.ready().await;
    for (alpn, version) in [("h2", Version::HTTP_2), ("http/1.1", Version::HTTP_11)] {
        let client = Client::trusting(&[&authority], &[&TLS12, &TLS13], &[alpn.as_bytes()]);
        assert_eq!(put_jobs(&client, address).await, jobs(version));
    }
    let known = r#"http_requests_total{method="PUT",route="/jobs",status="200"}"#;
    assert_eq!(metric(&service, known).await, Some(2.0));
}

#[tokio::test]
async fn a_self_signed_certificate_needs_no_file_and_no_client_can_verify_it() {
    let (service, address) = start(&[("TLS_SELF_SIGNED", "true")]);
    let service = service.ready().await;
    assert!(Authority::new().client().connect(address).await.is_err());
    assert_eq!(put_jobs(&insecure_client(), address).await, jobs(Version::HTTP_2));
    service.signal(Signal::TERM);
    let printed = printed(&service.output().await);
    assert!(printed.contains("the certificate is self-signed"), "{printed}");
}

#[tokio::test]
async fn an_expired_certificate_is_a_warning_at_the_start_and_at_a_reload() {
    let authority = Authority::new();
    let mut files = Mount::new(&authority.issue(PAST).files());
    let (service, _) = start_with(&files);
    let service = service.ready().await;
    let expiration = "tls_certificate_expiration_timestamp_seconds";
    let past = metric(&service, expiration).await.unwrap();
    for (year, seconds) in [(FUTURE, FUTURE_SECONDS), (PAST, past)] {
        files.write(&authority.issue(year).files());
        until_metric(&service, expiration, seconds).await;
    }
    service.signal(Signal::TERM);
    let output = service.output().await;
    let printed = printed(&output);
    let warning = |line: &&str| line.contains(r#""level":"WARN""#) && line.contains("has expired");
    assert_eq!(printed.lines().filter(warning).count(), 2, "{printed}");
    assert_eq!(output.status.code(), Some(0), "{printed}");
}

#[tokio::test]
async fn a_start_with_a_bad_certificate_fails_and_names_the_fault() {
    let authority = Authority::new();
    let (first, second) = (authority.issue(FUTURE), authority.issue(FUTURE));
    // A parser might repeat this line in its error.
    let key_in_one_line = first.key.replace('\n', "");
    let cases: [(&[(&str, &str)], &str); 7] = [
        (&[], "set TLS_CERT_FILE to another file"),
        (
            &[("tls.crt", &first.certificate)],
            "set TLS_KEY_FILE to another file",
        ),
        (
            &[("tls.crt", "nonsense"), ("tls.key", &first.key)],
            "(TLS_CERT_FILE) contains no certificate",
        ),
        (
            &[("tls.crt", &key_in_one_line), ("tls.key", &first.key)],
            "(TLS_CERT_FILE) is not in PEM format",
        ),
        (
            &[("tls.crt", &first.certificate), ("tls.key", "nonsense")],
            "(TLS_KEY_FILE) contains no private key",
        ),
        (
            &[("tls.crt", &first.certificate), ("tls.key", &second.key)],
            "does not belong to the certificate",
        ),
        (
            &[
                (
                    "tls.crt",
                    "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                ),
                ("tls.key", &first.key),
            ],
            "cannot be used",
        ),
    ];
    for (files, fault) in cases {
        let files = Mount::new(files);
        let output = start_with(&files).0.output().await;
        let printed = printed(&output);
        assert_eq!(output.status.code(), Some(1), "{printed}");
        let folder = files.file("");
        let folder = folder.to_str().unwrap();
        assert!(
            printed.contains(fault) && printed.contains(folder),
            "{fault}: {printed}"
        );
        for key in [&first.key, &second.key] {
            expect_no_part_of(key, &printed);
        }
    }
}

#[tokio::test]
async fn a_bad_version_is_logged_once_and_no_key_is_logged() {
    let authority = Authority::new();
    let (first, second) = (authority.issue(FUTURE), authority.issue(FUTURE));
    let mut files = Mount::new(&first.files());
    let (service, _) = start_with(&files);
    let service = service.ready().await;
    files.write(&[("tls.crt", &first.certificate), ("tls.key", &second.key)]);
    let reload = "tls_certificate_last_reload_successful";
    until_metric(&service, reload, 0.0).await;
    // Time for several reads of the same bad files.
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    files.write(&second.files());
    until_metric(&service, reload, 1.0).await;
    service.signal(Signal::TERM);
    let printed = printed(&service.output().await);
    let warnings = printed
        .lines()
        .filter(|line| line.contains("does not belong to the certificate"));
    assert_eq!(warnings.count(), 1, "{printed}");
    for issued in [&first, &second] {
        expect_no_part_of(&issued.key, &printed);
    }
}

async fn until_metric(service: &Service, name: &str, value: f64) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    while metric(service, name).await != Some(value) {
        assert!(Instant::now() < deadline, "{name} is not {value}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Returns a client that accepts every certificate.
fn insecure_client() -> Client {
    let mut client = Authority::new().client();
    let verifier = Arc::new(AcceptAnyCertificate);
    client.0.dangerous().set_certificate_verifier(verifier);
    client
}

#[derive(Debug)]
struct AcceptAnyCertificate;

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
        let algorithms = ring::default_provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
