//! The order of a shutdown. It loses no request.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::Request;
use axum::response::Response;
use hyper::body::Incoming;
use prometheus::Registry;
use reqwest::{Client, StatusCode};
use service::server::{DeadlineMissed, Server};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::support::{LARGE_BYTES, RawClient, TEST_TIMEOUT, TestServer, config, until};

async fn readyz(server: &TestServer) -> Result<StatusCode, reqwest::Error> {
    Client::new()
        .get(server.admin_url("/readyz"))
        .send()
        .await
        .map(|response| response.status())
}

/// Waits until `/readyz` no longer responds 200.
async fn until_not_ready(server: &TestServer) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    while readyz(server).await.unwrap() == StatusCode::OK {
        assert!(Instant::now() < deadline, "/readyz still responds 200");
    }
}

#[tokio::test]
async fn readiness_fails_first_and_the_admin_listener_closes_last() {
    let drain_delay = Duration::from_secs(3);
    let mut server = TestServer::start(&["--drain-delay=3s"]);
    let mut kept = RawClient::connect(server.address).await;
    let mut held = RawClient::connect(server.address).await;
    assert!(!kept.get("/ok").await.contains("connection: close"));
    held.send("GET /wait HTTP/1.1\r\nhost: test\r\n\r\n").await;
    server.until_in_flight(1).await;
    assert_eq!(readyz(&server).await.unwrap(), StatusCode::OK);

    let started = Instant::now();
    server.shut_down();
    until_not_ready(&server).await;

    // During the drain delay, the server responds on open and on new connections, and asks the client to close them.
    // This also shows that readiness failed before the end of the delay.
    assert!(kept.get("/ok").await.contains("connection: close"));
    let mut fresh = RawClient::connect(server.address).await;
    let response = fresh.get("/ok").await;
    assert!(
        response.starts_with("HTTP/1.1 200 ") && response.contains("connection: close"),
        "{response}"
    );

    let deadline = Instant::now() + TEST_TIMEOUT;
    while TcpStream::connect(server.address).await.is_ok() {
        assert!(Instant::now() < deadline, "still accepting connections");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(
        started.elapsed() >= drain_delay,
        "stopped accepting before the end of the drain delay: {:?}",
        started.elapsed()
    );
    assert_eq!(
        readyz(&server).await.unwrap(),
        StatusCode::SERVICE_UNAVAILABLE,
        "the admin listener must respond until the end"
    );
    assert!(!server.has_stopped(), "stopped while a request was in flight");

    server.gate.add_permits(1);
    assert!(
        held.response().await.ends_with("waited"),
        "the request in flight completes"
    );
    until("the server has stopped", || server.has_stopped()).await;
    assert!(readyz(&server).await.is_err(), "the admin listener is still open");
    server.stopped().await.unwrap();
}

#[tokio::test]
async fn a_request_in_flight_at_the_drain_deadline_is_aborted_and_reported() {
    let mut server = TestServer::start(&["--drain-delay=0s", "--drain-deadline=200ms"]);
    let mut held = RawClient::connect(server.address).await;
    held.send("GET /wait HTTP/1.1\r\nhost: test\r\n\r\n").await;
    server.until_in_flight(1).await;
    server.shut_down();
    held.closed().await;
    let error = server.stopped().await.unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&DeadlineMissed { connections: 1 }));
}

#[tokio::test]
async fn idle_connections_do_not_delay_the_shutdown() {
    let mut server = TestServer::start(&["--drain-delay=0s", "--drain-deadline=10s"]);
    let mut idle = RawClient::connect(server.address).await;
    idle.get("/ok").await;
    let _silent = RawClient::connect(server.address).await;
    let started = Instant::now();
    server.shut_down();
    server.stopped().await.expect("no request was aborted");
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_idle_connection_closes_when_draining_starts() {
    // Many connections, so that some handle the first stage while the server still notifies others.
    for _ in 0..4 {
        let mut server = TestServer::start(&["--drain-delay=0s", "--drain-deadline=5s"]);
        let mut idle = Vec::new();
        for _ in 0..400 {
            let mut client = RawClient::connect(server.address).await;
            client.get("/ok").await;
            idle.push(client);
        }
        server.shut_down();
        server.stopped().await.expect("no connection stays open");
    }
}

#[tokio::test]
async fn a_request_that_arrives_when_draining_starts_gets_a_response() {
    let mut server = TestServer::start(&["--drain-delay=0s"]);
    let mut kept = RawClient::connect(server.address).await;
    kept.get("/ok").await;
    server.shut_down();
    until_not_ready(&server).await;
    let response = kept.get("/ok").await;
    assert!(
        response.starts_with("HTTP/1.1 200 ") && response.contains("connection: close"),
        "{response}"
    );
    server.stopped().await.unwrap();
}

/// The server closes connections without a request in flight 1 s after draining starts.
const AFTER_THE_GRACE: Duration = Duration::from_millis(1500);

#[tokio::test]
async fn a_response_that_streams_when_draining_starts_completes() {
    let mut server = TestServer::start(&["--drain-delay=0s"]);
    let mut client = RawClient::connect(server.address).await;
    client
        .send("GET /stream HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
        .await;
    server.until_in_flight(0).await;
    server.shut_down();
    tokio::time::sleep(AFTER_THE_GRACE).await;
    server.gate.add_permits(1);
    let response = String::from_utf8(client.read_to_end().await).unwrap();
    assert!(
        response.contains("first, ") && response.ends_with("last\r\n0\r\n\r\n"),
        "{response}"
    );
    server.stopped().await.expect("no request was aborted");
}

#[tokio::test]
async fn a_client_that_reads_slowly_when_draining_starts_gets_its_whole_response() {
    let mut server = TestServer::start(&["--drain-delay=0s"]);
    let mut client = RawClient::connect(server.address).await;
    client
        .send("GET /large HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
        .await;
    until("the response is ready", || {
        server.metric(r#"http_requests_total{method="GET",route="/large",status="200"}"#) == Some(1.0)
    })
    .await;
    server.shut_down();
    tokio::time::sleep(AFTER_THE_GRACE).await;
    let response = client.read_to_end().await;
    assert!(response.len() > LARGE_BYTES, "{} bytes", response.len());
    server.stopped().await.expect("no request was aborted");
}

#[tokio::test]
async fn idle_connections_at_the_drain_deadline_are_not_aborted_requests() {
    let mut server = TestServer::start(&["--drain-delay=0s", "--drain-deadline=50ms"]);
    let mut idle = RawClient::connect(server.address).await;
    idle.get("/ok").await;
    let _silent = RawClient::connect(server.address).await;
    server.shut_down();
    server.stopped().await.expect("no request was aborted");
}

/// A service whose third clone panics. Each connection gets a clone.
#[derive(Debug)]
struct PanicsOnClone(Arc<AtomicUsize>);

impl Clone for PanicsOnClone {
    fn clone(&self) -> Self {
        assert!(
            self.0.fetch_add(1, Ordering::Relaxed) < 2,
            "a fault in the accept loop"
        );
        Self(Arc::clone(&self.0))
    }
}

impl tower::Service<Request<Incoming>> for PanicsOnClone {
    type Response = Response;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Incoming>) -> Self::Future {
        std::future::ready(Ok(Response::default()))
    }
}

#[tokio::test]
async fn a_panic_in_the_accept_loop_stops_the_server_with_an_error() {
    let config = config(&["--drain-delay=0s"]);
    let server = Server::bind(&config, Registry::new()).unwrap();
    let address = server.address().unwrap();
    let server = tokio::spawn(server.run(PanicsOnClone(Arc::default()), std::future::pending()));
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(TcpStream::connect(address).await.unwrap());
    }
    let stopped = timeout(TEST_TIMEOUT, server)
        .await
        .expect("the server stops")
        .unwrap();
    let error = stopped.expect_err("a panic is not a clean shutdown");
    assert_eq!(error.to_string(), "the public listener stopped");
}

#[tokio::test]
async fn an_http2_request_in_flight_completes_too() {
    let mut server = TestServer::start(&["--drain-delay=300ms"]);
    let client = Client::builder()
        .http2_prior_knowledge()
        .retry(reqwest::retry::never())
        .build()
        .unwrap();
    let held = tokio::spawn(client.get(server.url("/wait")).send());
    server.until_in_flight(1).await;
    server.shut_down();
    until_not_ready(&server).await;
    server.gate.add_permits(1);
    assert_eq!(held.await.unwrap().unwrap().status(), StatusCode::OK);
    server.stopped().await.unwrap();
}
