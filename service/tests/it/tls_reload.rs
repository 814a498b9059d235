//! The certificate of the TLS listener: expired, replaced while clients send requests, broken, and self-signed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::Version;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::mount::Mount;
use super::support::{TEST_TIMEOUT, until};
use super::tls::{get, ok, start};
use super::tls_client::{Authority, Client, FUTURE, FUTURE_SECONDS, PAST};

const EXPIRATION: &str = "tls_certificate_expiration_timestamp_seconds";
const SUCCESSFUL: &str = "tls_certificate_last_reload_successful";

/// Waits until new connections of this client succeed.
async fn until_accepted(client: &Client, address: SocketAddr) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    while let Err(error) = client.connect(address).await {
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn clients_refuse_an_expired_certificate_and_accept_its_replacement() {
    let authority = Authority::new();
    let mut files = Mount::new(&authority.issue(PAST).files());
    let server = start(&files, &[]).await;
    let address = server.tls.unwrap();
    let error = authority.client().connect(address).await.unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");
    server.until_ended("handshake_failed", 1.0).await;
    assert!(
        server.metric(EXPIRATION).is_some_and(|end| end < FUTURE_SECONDS),
        "the metric shows it"
    );

    files.write(&authority.issue(FUTURE).files());
    until_accepted(&authority.client(), address).await;
    assert_eq!(server.metric(EXPIRATION), Some(FUTURE_SECONDS));
}

/// A client that sends one request after another, until the test stops it.
struct Load {
    stop: Arc<AtomicBool>,
    responses: Arc<AtomicUsize>,
    task: JoinHandle<io::Result<()>>,
}

impl Load {
    /// Sends each request on a new connection, or all on one.
    async fn start(client: Client, address: SocketAddr, reconnects: bool) -> Self {
        let (stop, responses) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (is_stopped, count) = (Arc::clone(&stop), Arc::clone(&responses));
        let mut connection = client.open(address).await.unwrap();
        let task = tokio::spawn(async move {
            while !is_stopped.load(Ordering::Relaxed) {
                if reconnects {
                    connection = client.open(address).await?;
                }
                let reply = connection.send("GET", "/ok").await.map_err(io::Error::other)?;
                assert_eq!(reply, ok(Version::HTTP_2));
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        Self {
            stop,
            responses,
            task,
        }
    }

    /// Waits for further responses.
    async fn until_more_responses(&self) {
        let before = self.responses.load(Ordering::Relaxed);
        until("more responses", || {
            self.responses.load(Ordering::Relaxed) > before + 20 || self.task.is_finished()
        })
        .await;
    }

    /// Stops the client. Fails if a request failed.
    async fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap().expect("no request fails");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_applies_to_new_connections_and_no_request_is_lost() {
    let (old, new) = (Authority::new(), Authority::new());
    let mut files = Mount::new(&old.issue(FUTURE).files());
    let server = start(&files, &["--max-connection-age=1h"]).await;
    let address = server.tls.unwrap();
    let both = Client::trusting(&[&old, &new], &[&TLS12, &TLS13], &[b"h2"]);
    let loads = [
        Load::start(old.client(), address, false).await,
        Load::start(both, address, true).await,
    ];
    for load in &loads {
        load.until_more_responses().await;
    }
    files.write(&new.issue(FUTURE).files());
    until_accepted(&new.client(), address).await;
    for load in &loads {
        load.until_more_responses().await;
    }
    for load in loads {
        load.finish().await;
    }
    let error = old.client().connect(address).await.unwrap_err();
    assert!(error.to_string().contains("invalid peer certificate"), "{error}");
}

#[tokio::test]
async fn a_resumed_session_does_not_survive_a_new_certificate() {
    let (old, new) = (Authority::new(), Authority::new());
    let mut files = Mount::new(&old.issue(FUTURE).files());
    let server = start(&files, &[]).await;
    let address = server.tls.unwrap();
    // The clones of a client share its sessions.
    let client = old.client();
    for _ in 0..2 {
        assert_eq!(get(&client, address).await.unwrap(), ok(Version::HTTP_2));
    }
    files.write(&new.issue(FUTURE).files());
    until_accepted(&new.client(), address).await;
    let error = client.connect(address).await.unwrap_err();
    assert!(error.to_string().contains("invalid peer certificate"), "{error}");
}

#[tokio::test]
async fn a_bad_version_keeps_the_certificate_until_a_good_one_follows() {
    let (old, new) = (Authority::new(), Authority::new());
    let first = old.issue(FUTURE);
    let mut files = Mount::new(&first.files());
    let server = start(&files, &[]).await;
    let address = server.tls.unwrap();
    let next = new.issue(FUTURE);
    let bad: [&[(&str, &str)]; 2] = [
        &[("tls.crt", &next.certificate), ("tls.key", &first.key)],
        &[("tls.crt", &next.certificate)],
    ];
    for bad in bad {
        files.write(bad);
        until("the fault shows in the metric", || {
            server.metric(SUCCESSFUL) == Some(0.0)
        })
        .await;
        assert_eq!(get(&old.client(), address).await.unwrap(), ok(Version::HTTP_2));
        files.write(&first.files());
        until("the fault is over", || server.metric(SUCCESSFUL) == Some(1.0)).await;
    }
    files.write(&next.files());
    until_accepted(&new.client(), address).await;
}

#[tokio::test]
async fn a_secret_replaces_the_self_signed_certificate() {
    let authority = Authority::new();
    let mut files = Mount::new(&[]);
    let server = start(&files, &["--tls-self-signed"]).await;
    let address = server.tls.unwrap();
    let error = authority.client().connect(address).await.unwrap_err();
    assert!(error.to_string().contains("invalid peer certificate"), "{error}");
    files.write(&authority.issue(FUTURE).files());
    until_accepted(&authority.client(), address).await;
    assert_eq!(server.metric(EXPIRATION), Some(FUTURE_SECONDS));
}
