//! The rounds of the sidecar, at chosen times.

use crate::support::{ApiServer, NAME, SERVER_NAME, start, verify};
use serving_cert::{
    certificate::ServingCertificate,
    config::{FilesConfig, RunConfig},
    files::Files,
    publish::Publisher,
    sidecar::Sidecar,
};
use std::{os::unix::fs::PermissionsExt, path::Path, time::Duration};
use tempfile::TempDir;
use time::OffsetDateTime;

fn config(directory: &Path) -> RunConfig {
    RunConfig {
        api_service: NAME.to_owned(),
        service_name: "prometheus-adapter".to_owned(),
        service_namespace: "monitoring".to_owned(),
        cluster_domain: "cluster.local".to_owned(),
        pod_name: "adapter-0".to_owned(),
        files: FilesConfig {
            directory: directory.to_owned(),
        },
        validity: crate::support::VALIDITY,
        reconcile_interval: Duration::from_secs(10),
    }
}

fn sidecar(server: &ApiServer, directory: &Path, now: OffsetDateTime) -> Sidecar {
    let publisher = Publisher::new(server.client(), NAME, "adapter-0");
    Sidecar::new(&config(directory), publisher, now).expect("started")
}

fn served(directory: &TempDir) -> ServingCertificate {
    Files::new(directory.path()).read().expect("the files are there")
}

fn trusts(server: &ApiServer, certificate: &ServingCertificate, now: OffsetDateTime) -> bool {
    verify(&server.bundle(), certificate, SERVER_NAME, now).is_ok()
}

#[tokio::test]
async fn the_first_round_publishes_and_writes_files_for_the_owner_only() {
    let (server, directory) = (ApiServer::with_bundle(""), TempDir::new().expect("a directory"));
    sidecar(&server, directory.path(), start())
        .round(start())
        .await
        .expect("a round");
    assert!(trusts(&server, &served(&directory), start()));
    for file in ["tls.crt", "tls.key"] {
        let mode = directory
            .path()
            .join(file)
            .metadata()
            .expect("written")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let left: Vec<_> = directory
        .path()
        .read_dir()
        .expect("readable")
        .map(|entry| entry.expect("readable").file_name())
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[tokio::test]
async fn nothing_is_written_before_the_authority_is_published() {
    let (server, directory) = (ApiServer::default(), TempDir::new().expect("a directory"));
    let mut sidecar = sidecar(&server, directory.path(), start());
    sidecar.round(start()).await.expect("waits for the APIService");
    server.0.lock().expect("lock").bundle = Some(Vec::new());
    server.0.lock().expect("lock").down = true;
    sidecar.round(start()).await.expect("waits for the API server");
    assert!(Files::new(directory.path()).check(start()).is_err());
    server.0.lock().expect("lock").down = false;
    sidecar.round(start()).await.expect("a round");
    assert!(trusts(&server, &served(&directory), start()));
}

#[tokio::test]
async fn a_bundle_that_is_overwritten_or_recreated_is_repaired() {
    let (server, directory) = (ApiServer::with_bundle(""), TempDir::new().expect("a directory"));
    let mut sidecar = sidecar(&server, directory.path(), start());
    sidecar.round(start()).await.expect("a round");
    for change in [Some(b"wrong".to_vec()), None, Some(Vec::new())] {
        server.0.lock().expect("lock").bundle = change;
        sidecar.round(start()).await.expect("a round");
    }
    assert!(trusts(&server, &served(&directory), start()));
}

#[tokio::test]
async fn renewal_publishes_first_writes_a_round_later_and_keeps_both_trusted() {
    let (server, directory) = (ApiServer::with_bundle(""), TempDir::new().expect("a directory"));
    let mut sidecar = sidecar(&server, directory.path(), start());
    sidecar.round(start()).await.expect("a round");
    let first = served(&directory);

    let due = first.renewal_time();
    sidecar
        .round(due - Duration::from_secs(1))
        .await
        .expect("a round");
    assert_eq!(server.0.lock().expect("lock").writes, 1, "renewed too early");

    server.0.lock().expect("lock").down = true;
    sidecar.round(due).await.expect("waits for the API server");
    sidecar.round(due).await.expect("waits for the API server");
    assert_eq!(
        served(&directory).chain_pem,
        first.chain_pem,
        "served before it is trusted"
    );

    server.0.lock().expect("lock").down = false;
    sidecar.round(due).await.expect("publishes");
    assert_eq!(
        served(&directory).chain_pem,
        first.chain_pem,
        "served before every API server trusts it"
    );
    sidecar.round(due).await.expect("writes");
    let second = served(&directory);
    assert_ne!(second.chain_pem, first.chain_pem);
    assert!(trusts(&server, &first, due) && trusts(&server, &second, due));
    assert!(second.not_after > first.not_after);
}

#[tokio::test]
async fn a_restarted_container_uses_its_certificate_again() {
    let (server, directory) = (ApiServer::with_bundle(""), TempDir::new().expect("a directory"));
    sidecar(&server, directory.path(), start())
        .round(start())
        .await
        .expect("a round");
    let first = served(&directory);
    let later = start() + Duration::from_hours(1);
    sidecar(&server, directory.path(), later)
        .round(later)
        .await
        .expect("a round");
    assert_eq!(served(&directory).chain_pem, first.chain_pem);
    assert_eq!(server.0.lock().expect("lock").writes, 1);

    std::fs::write(directory.path().join("tls.key"), "cut off").expect("written");
    sidecar(&server, directory.path(), later)
        .round(later)
        .await
        .expect("a round");
    assert_ne!(served(&directory).chain_pem, first.chain_pem);
    assert!(trusts(&server, &served(&directory), later));
}
