//! Publishing in a `caBundle`, for different previous contents and concurrent writers.

use crate::support::{ApiServer, NAME, SERVER_NAME, VALIDITY, identity, start, verify};
use serving_cert::{
    bundle::{self, MAX_AUTHORITIES},
    certificate::ServingCertificate,
    publish::{Outcome, Publisher},
};
use std::time::Duration;
use time::OffsetDateTime;

fn issue(pod: &str, now: OffsetDateTime) -> ServingCertificate {
    ServingCertificate::issue(&identity(pod), VALIDITY, now).expect("issued")
}

fn pem(certificate: &ServingCertificate) -> String {
    bundle::encode(std::slice::from_ref(&certificate.authority))
}

async fn publish(
    server: &ApiServer,
    pod: &str,
    certificate: &ServingCertificate,
) -> Result<Outcome, kube::Error> {
    let authorities = [certificate.authority.clone()];
    Publisher::new(server.client(), NAME, pod)
        .ensure(&authorities, start())
        .await
}

fn trusts(server: &ApiServer, certificate: &ServingCertificate) -> bool {
    verify(&server.bundle(), certificate, SERVER_NAME, start()).is_ok()
}

#[tokio::test]
async fn an_empty_bundle_gets_the_authority_and_then_stays_unchanged() {
    let (server, certificate) = (ApiServer::with_bundle(""), issue("adapter-0", start()));
    assert_eq!(
        publish(&server, "adapter-0", &certificate)
            .await
            .expect("published"),
        Outcome::Published
    );
    assert!(trusts(&server, &certificate));
    assert_eq!(
        publish(&server, "adapter-0", &certificate).await.expect("read"),
        Outcome::Unchanged
    );
    assert_eq!(server.0.lock().expect("lock").writes, 1);
}

#[tokio::test]
async fn certificates_of_other_pods_and_of_other_tools_stay() {
    let (other_pod, certificate) = (issue("adapter-1", start()), issue("adapter-0", start()));
    let foreign = rcgen::generate_simple_self_signed(["another.tool".to_owned()]).expect("issued");
    let server = ApiServer::with_bundle(&(foreign.cert.pem() + &pem(&other_pod)));
    publish(&server, "adapter-0", &certificate)
        .await
        .expect("published");
    assert!(trusts(&server, &other_pod) && trusts(&server, &certificate));
    assert!(
        server
            .bundle()
            .replace("\r\n", "\n")
            .contains(&foreign.cert.pem().replace("\r\n", "\n"))
    );
}

#[tokio::test]
async fn a_wrong_bundle_is_repaired() {
    let (wrong, certificate) = (issue("adapter-9", start()), issue("adapter-0", start()));
    for bundle in [
        pem(&wrong).as_str(),
        "no certificate at all",
        "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n",
    ] {
        let server = ApiServer::with_bundle(bundle);
        publish(&server, "adapter-0", &certificate)
            .await
            .expect("published");
        assert!(trusts(&server, &certificate), "{bundle}");
        assert!(!server.bundle().contains('!'));
    }
}

#[tokio::test]
async fn an_unreadable_certificate_is_removed_even_if_the_authority_is_present() {
    let certificate = issue("adapter-0", start());
    let garbage = "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n";
    let server = ApiServer::with_bundle(&(garbage.to_owned() + &pem(&certificate)));
    publish(&server, "adapter-0", &certificate)
        .await
        .expect("published");
    assert_eq!(server.bundle(), pem(&certificate));
}

#[tokio::test]
async fn expired_authorities_are_removed() {
    let (expired, certificate) = (
        issue("adapter-1", start() - 2 * VALIDITY),
        issue("adapter-0", start()),
    );
    let server = ApiServer::with_bundle(&(pem(&expired) + &pem(&certificate)));
    assert_eq!(
        publish(&server, "adapter-0", &certificate)
            .await
            .expect("published"),
        Outcome::Published
    );
    assert_eq!(server.bundle(), pem(&certificate));
}

#[tokio::test]
async fn the_bundle_keeps_the_two_newest_authorities_of_a_pod() {
    let server = ApiServer::with_bundle("");
    let generations: Vec<_> = (0..4).map(|_| issue("adapter-0", start())).collect();
    for generation in &generations {
        publish(&server, "adapter-0", generation)
            .await
            .expect("published");
        assert!(trusts(&server, generation));
    }
    let trusted = generations
        .iter()
        .map(|generation| trusts(&server, generation))
        .collect::<Vec<_>>();
    assert_eq!(trusted, [false, false, true, true]);
}

#[tokio::test]
async fn the_bundle_drops_the_oldest_authority_above_the_limit() {
    let server = ApiServer::with_bundle("");
    let pods: Vec<_> = (0..MAX_AUTHORITIES + 3)
        .map(|pod| format!("adapter-{pod}"))
        .collect();
    let mut issued = Vec::new();
    for pod in &pods {
        issued.push(issue(pod, start()));
        publish(&server, pod, &issued[issued.len() - 1])
            .await
            .expect("published");
    }
    assert_eq!(
        server.bundle().matches("BEGIN CERTIFICATE").count(),
        MAX_AUTHORITIES
    );
    assert!(!trusts(&server, &issued[0]), "the oldest is still there");
    assert!(trusts(&server, &issued[issued.len() - 1]));
}

#[tokio::test]
async fn a_conflicting_write_is_repeated_on_the_current_bundle() {
    let (server, certificate) = (ApiServer::with_bundle(""), issue("adapter-0", start()));
    server.0.lock().expect("lock").interfering_writes = 3;
    assert_eq!(
        publish(&server, "adapter-0", &certificate)
            .await
            .expect("published"),
        Outcome::Published
    );
    assert_eq!(server.0.lock().expect("lock").conflicts, 3);
    assert!(trusts(&server, &certificate));
}

#[tokio::test]
async fn endless_conflicts_are_an_error() {
    let (server, certificate) = (ApiServer::with_bundle(""), issue("adapter-0", start()));
    server.0.lock().expect("lock").interfering_writes = usize::MAX;
    let published = tokio::time::timeout(
        Duration::from_secs(5),
        publish(&server, "adapter-0", &certificate),
    )
    .await;
    assert!(published.expect("the attempts are limited").is_err());
}

#[tokio::test]
async fn a_missing_api_service_is_not_an_error() {
    let (server, certificate) = (ApiServer::default(), issue("adapter-0", start()));
    assert_eq!(
        publish(&server, "adapter-0", &certificate).await.expect("read"),
        Outcome::Missing
    );
}
