//! The rounds of the sidecar. Each test chooses the time of each round.

use crate::support::{ApiServer, NAME, SERVER_NAME, start, verify};
use http::{Request, Response};
use kube::{Client, client::Body};
use service::readiness::{Readiness, State};
use serving_cert::{
    certificate::ServingCertificate,
    config::{FilesConfig, RunConfig},
    files::Files,
    metrics::Metrics,
    publish::Publisher,
    sidecar::Sidecar,
};
use std::{convert::Infallible, future::pending, os::unix::fs::PermissionsExt, path::Path, time::Duration};
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
        admin_listen: ([127, 0, 0, 1], 0).into(),
    }
}

fn sidecar(server: &ApiServer, directory: &Path, now: OffsetDateTime) -> Sidecar {
    observed(server, directory, now).0
}

/// A sidecar with the metrics and the readiness that it reports.
fn observed(server: &ApiServer, directory: &Path, now: OffsetDateTime) -> (Sidecar, Metrics, Readiness) {
    let publisher = Publisher::new(server.client(), NAME, "adapter-0");
    let (metrics, readiness) = (Metrics::new(), Readiness::default());
    let (config, kept) = (config(directory), (metrics.clone(), readiness.clone()));
    let sidecar = Sidecar::new(&config, publisher, metrics, readiness, now).expect("started");
    (sidecar, kept.0, kept.1)
}

/// Returns the certificate in the files.
fn written_certificate(directory: &TempDir) -> ServingCertificate {
    Files::new(directory.path()).read().expect("both files exist")
}

fn trusts(server: &ApiServer, certificate: &ServingCertificate, now: OffsetDateTime) -> bool {
    verify(&server.bundle(), certificate, SERVER_NAME, now).is_ok()
}

#[tokio::test]
async fn the_first_round_publishes_and_writes_files_that_only_the_owner_can_read() {
    let (server, directory) = (ApiServer::with_bundle(""), TempDir::new().expect("a directory"));
    sidecar(&server, directory.path(), start())
        .round(start())
        .await
        .expect("a round");
    assert!(trusts(&server, &written_certificate(&directory), start()));
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
    let files: Vec<_> = directory
        .path()
        .read_dir()
        .expect("readable")
        .map(|entry| entry.expect("readable").file_name())
        .collect();
    assert_eq!(files.len(), 2, "{files:?}");
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
    assert!(trusts(&server, &written_certificate(&directory), start()));
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
    assert!(trusts(&server, &written_certificate(&directory), start()));
}

#[tokio::test]
async fn renewal_publishes_first_writes_one_round_later_and_keeps_both_authorities() {
    let (server, directory) = (ApiServer::with_bundle(""), TempDir::new().expect("a directory"));
    let mut sidecar = sidecar(&server, directory.path(), start());
    sidecar.round(start()).await.expect("a round");
    let first = written_certificate(&directory);

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
        written_certificate(&directory).chain_pem,
        first.chain_pem,
        "written before its authority is published"
    );

    server.0.lock().expect("lock").down = false;
    sidecar.round(due).await.expect("publishes");
    assert_eq!(
        written_certificate(&directory).chain_pem,
        first.chain_pem,
        "written before every API server has read its authority"
    );
    sidecar.round(due).await.expect("writes");
    let second = written_certificate(&directory);
    assert_ne!(second.chain_pem, first.chain_pem);
    assert!(trusts(&server, &first, due) && trusts(&server, &second, due));
    assert!(second.not_after > first.not_after);
}

#[tokio::test]
async fn a_restarted_container_reuses_its_certificate() {
    let (server, directory) = (ApiServer::with_bundle(""), TempDir::new().expect("a directory"));
    sidecar(&server, directory.path(), start())
        .round(start())
        .await
        .expect("a round");
    let first = written_certificate(&directory);
    let later = start() + Duration::from_hours(1);
    sidecar(&server, directory.path(), later)
        .round(later)
        .await
        .expect("a round");
    assert_eq!(written_certificate(&directory).chain_pem, first.chain_pem);
    assert_eq!(server.0.lock().expect("lock").writes, 1);

    std::fs::write(directory.path().join("tls.key"), "truncated").expect("written");
    let mut restarted = sidecar(&server, directory.path(), later);
    restarted.round(later).await.expect("publishes");
    let key = std::fs::read_to_string(directory.path().join("tls.key")).expect("readable");
    assert_eq!(
        key, "truncated",
        "written before every API server has read the authority"
    );
    restarted.round(later).await.expect("writes");
    assert_ne!(written_certificate(&directory).chain_pem, first.chain_pem);
    assert!(trusts(&server, &written_certificate(&directory), later));
}

#[tokio::test]
async fn a_restarted_container_with_a_certificate_is_ready_while_the_api_server_is_down() {
    let (server, directory) = (ApiServer::with_bundle(""), TempDir::new().expect("a directory"));
    sidecar(&server, directory.path(), start())
        .round(start())
        .await
        .expect("a round");
    server.0.lock().expect("lock").down = true;
    let later = start() + Duration::from_hours(1);
    let (_, metrics, readiness) = observed(&server, directory.path(), later);
    assert_eq!((readiness.state(), readiness.fault()), (State::Ready, None));
    let expiration = written_certificate(&directory).not_after.unix_timestamp();
    assert_eq!(
        metrics.serving_certificate_expiration_timestamp_seconds.get(),
        expiration
    );
}

#[tokio::test]
async fn a_restart_during_a_renewal_keeps_the_authority_that_the_server_uses() {
    let (server, directory) = (ApiServer::with_bundle(""), TempDir::new().expect("a directory"));
    let mut first_run = sidecar(&server, directory.path(), start());
    first_run.round(start()).await.expect("a round");
    let used = written_certificate(&directory);
    let due = used.renewal_time();
    first_run.round(due).await.expect("publishes the next authority");
    for _ in 0..3 {
        // Each restart loses the key of the next certificate, and publishes another authority.
        let mut restarted = sidecar(&server, directory.path(), due);
        restarted.round(due).await.expect("publishes");
        assert!(
            trusts(&server, &used, due),
            "the server still uses this authority"
        );
        assert_eq!(written_certificate(&directory).chain_pem, used.chain_pem);
    }
    let mut restarted = sidecar(&server, directory.path(), due);
    restarted.round(due).await.expect("publishes");
    restarted.round(due).await.expect("writes");
    let renewed = written_certificate(&directory);
    assert_ne!(renewed.chain_pem, used.chain_pem);
    assert!(trusts(&server, &renewed, due));
}

#[tokio::test]
async fn the_readiness_and_the_metrics_follow_the_certificate() {
    let (server, directory) = (ApiServer::default(), TempDir::new().expect("a directory"));
    let (mut sidecar, metrics, readiness) = observed(&server, directory.path(), start());
    sidecar.round(start()).await.expect("waits for the APIService");
    let fault = readiness.fault().expect("a reason");
    assert!(fault.contains("the APIService does not exist"), "{fault}");
    assert_eq!(readiness.state(), State::Starting);
    assert_eq!(metrics.serving_certificate_publish_failures_total.get(), 1);
    let expiration = || metrics.serving_certificate_expiration_timestamp_seconds.get();
    assert_eq!(expiration(), 0, "nothing is written");

    server.0.lock().expect("lock").bundle = Some(Vec::new());
    sidecar.round(start()).await.expect("a round");
    let first = written_certificate(&directory);
    assert_eq!((readiness.state(), readiness.fault()), (State::Ready, None));
    assert_eq!(expiration(), first.not_after.unix_timestamp());
    assert_eq!(metrics.serving_certificate_renewals_total.get(), 0);

    // The server works with its certificate while the API server is down, until the end of the validity.
    server.0.lock().expect("lock").down = true;
    sidecar
        .round(first.renewal_time())
        .await
        .expect("waits for the API server");
    assert_eq!(readiness.fault(), None);
    assert_eq!(metrics.serving_certificate_publish_failures_total.get(), 2);
    sidecar
        .round(first.not_after)
        .await
        .expect("waits for the API server");
    let fault = readiness.fault().expect("a reason");
    assert!(fault.contains("the certificate expired at"), "{fault}");

    server.0.lock().expect("lock").down = false;
    for _ in 0..2 {
        sidecar.round(first.not_after).await.expect("a round");
    }
    let second = written_certificate(&directory);
    assert_eq!(readiness.fault(), None);
    assert_eq!(metrics.serving_certificate_renewals_total.get(), 1);
    assert_eq!(expiration(), second.not_after.unix_timestamp());
    let text = service::metrics::text(&metrics.registry);
    for name in [
        "log_lines_dropped_total",
        "build_info",
        "process_start_time_seconds",
    ] {
        assert!(text.contains(name), "no {name}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_round_that_hangs_ends_the_process() {
    let directory = TempDir::new().expect("a directory");
    let never = tower::service_fn(|_: Request<Body>| pending::<Result<Response<Body>, Infallible>>());
    let publisher = Publisher::new(Client::new(never, "default"), NAME, "adapter-0");
    let config = config(directory.path());
    let now = OffsetDateTime::now_utc();
    let sidecar =
        Sidecar::new(&config, publisher, Metrics::new(), Readiness::default(), now).expect("started");
    // Ten requests, each with 10 s for the connection and 10 s for the response.
    let started = tokio::time::Instant::now();
    let error = sidecar
        .run(config.reconcile_interval)
        .await
        .expect_err("it hangs");
    assert!(
        format!("{error:#}").contains("a round has not ended"),
        "{error:#}"
    );
    let elapsed = started.elapsed();
    assert!((200..300).contains(&elapsed.as_secs()), "ended after {elapsed:?}");
}
