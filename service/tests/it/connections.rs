//! The limits of a connection: header read timeout, keep-alive timeout and maximum age.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Request, StatusCode};
use futures_util::future::{join_all, try_join_all};
use h2::Reason;
use h2::client::SendRequest;
use reqwest::Client;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::support::{RawClient, TEST_TIMEOUT, TestServer, until};

const SHORT_HEADER_READ_TIMEOUT: &str = "--header-read-timeout=300ms";

#[tokio::test]
async fn a_connection_that_sends_nothing_is_closed_after_the_header_read_timeout() {
    let server = TestServer::start(&[SHORT_HEADER_READ_TIMEOUT]);
    let mut client = RawClient::connect(server.address).await;
    let waited = client.closed().await;
    assert!(
        (Duration::from_millis(200)..Duration::from_secs(5)).contains(&waited),
        "{waited:?}"
    );
}

#[tokio::test]
async fn open_connections_and_the_reasons_of_their_end_are_exported() {
    let flags = [SHORT_HEADER_READ_TIMEOUT, "--keep-alive-timeout=300ms"];
    let server = TestServer::start(&flags);
    let mut silent = RawClient::connect(server.address).await;
    until("an open connection", || {
        server.metric("http_connections_open") == Some(1.0)
    })
    .await;
    silent.closed().await;
    server.until_ended("header_timeout", 1.0).await;
    let mut idle = RawClient::connect(server.address).await;
    idle.get("/ok").await;
    idle.closed().await;
    server.until_ended("idle_timeout", 1.0).await;
    let mut leaving = RawClient::connect(server.address).await;
    leaving.get("/ok").await;
    drop(leaving);
    server.until_ended("client", 1.0).await;
    until("no open connection", || {
        server.metric("http_connections_open") == Some(0.0)
    })
    .await;
}

#[tokio::test]
async fn further_clients_wait_until_a_connection_closes() {
    let server = TestServer::start(&["--max-connections=2"]);
    let mut held = vec![
        RawClient::connect(server.address).await,
        RawClient::connect(server.address).await,
    ];
    for client in &mut held {
        client.get("/ok").await;
    }
    let mut waiting = RawClient::connect(server.address).await;
    waiting.send("GET /ok HTTP/1.1\r\nhost: test\r\n\r\n").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(server.metric("http_connections_open"), Some(2.0));
    held.pop();
    assert!(waiting.response().await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_burst_of_clients_fits_into_the_backlog() {
    let server = TestServer::start(&["--max-connections=1", "--header-read-timeout=60s"]);
    let _held = RawClient::connect(server.address).await;
    let burst = (0..1000).map(|_| TcpStream::connect(server.address));
    // The kernel ignores a client that finds the backlog full. The client tries again after 1, 2, 4, … s.
    let connected = timeout(TEST_TIMEOUT, try_join_all(burst)).await;
    connected.expect("no client waits for a retry").unwrap();
}

#[tokio::test]
async fn a_head_sent_byte_by_byte_does_not_extend_the_header_read_timeout() {
    let server = TestServer::start(&[SHORT_HEADER_READ_TIMEOUT]);
    let mut client = RawClient::connect(server.address).await;
    client.send("GET /ok HTTP/1.1\r\nhost: test\r\n").await;
    let started = Instant::now();
    let mut closed = false;
    while !closed && started.elapsed() < Duration::from_secs(5) {
        let sent = client.try_send("x").await;
        let closing = timeout(Duration::from_millis(20), client.closed_or_reset()).await;
        closed = sent.is_err() || closing.is_ok();
    }
    assert!(closed, "still open after {:?}", started.elapsed());
}

#[tokio::test]
async fn the_header_read_timeout_applies_to_the_second_head_on_a_connection() {
    let server = TestServer::start(&[SHORT_HEADER_READ_TIMEOUT]);
    let mut client = RawClient::connect(server.address).await;
    client.get("/ok").await;
    client.send("GET /ok HT").await;
    let waited = client.closed().await;
    assert!(waited < Duration::from_secs(5), "{waited:?}");
}

#[tokio::test]
async fn an_idle_connection_outlives_the_header_read_timeout_and_closes_at_the_keep_alive_timeout() {
    let keep_alive = Duration::from_secs(3);
    let server = TestServer::start(&["--header-read-timeout=100ms", "--keep-alive-timeout=3s"]);
    let mut client = RawClient::connect(server.address).await;
    client.get("/ok").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let started = Instant::now();
    assert!(client.get("/ok").await.starts_with("HTTP/1.1 200 "));
    client.closed().await;
    assert!(started.elapsed() >= keep_alive, "{:?}", started.elapsed());
}

#[tokio::test]
async fn no_limit_of_the_connection_applies_to_a_request_in_flight() {
    let flags = [
        SHORT_HEADER_READ_TIMEOUT,
        "--keep-alive-timeout=100ms",
        "--max-connection-age=100ms",
    ];
    let server = TestServer::start(&flags);
    let mut client = RawClient::connect(server.address).await;
    client.send("GET /wait HTTP/1.1\r\nhost: test\r\n\r\n").await;
    tokio::time::sleep(Duration::from_millis(800)).await;
    server.gate.add_permits(1);
    assert!(client.response().await.ends_with("waited"));
}

#[tokio::test]
async fn the_first_response_after_the_maximum_age_asks_to_close() {
    let server = TestServer::start(&["--max-connection-age=500ms"]);
    let started = Instant::now();
    let mut client = RawClient::connect(server.address).await;
    while !next_response_asks_to_close(&mut client).await {
        assert!(started.elapsed() < TEST_TIMEOUT, "no response asks to close");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(
        started.elapsed() >= Duration::from_millis(400),
        "closed before 80 % of the maximum age: {:?}",
        started.elapsed()
    );
    // The default keep-alive timeout is longer than the time limit of the test, so the age closes the connection.
    client.closed().await;
}

/// Sends a request and returns whether its response asks to close. Fails if the status is not 200.
async fn next_response_asks_to_close(client: &mut RawClient) -> bool {
    let response = client.get("/ok").await;
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    response.contains("connection: close")
}

#[tokio::test]
async fn the_maximum_age_differs_between_connections() {
    // The maximum ages are spread over two seconds. All connections could close in the same round only if the test
    // paused for longer than that.
    let server = TestServer::start(&["--max-connection-age=5s"]);
    let started = Instant::now();
    let mut clients = Vec::new();
    for _ in 0..40 {
        clients.push(RawClient::connect(server.address).await);
    }
    let mut closing = 0;
    while closing == 0 {
        assert!(started.elapsed() < TEST_TIMEOUT, "no response asks to close");
        tokio::time::sleep(Duration::from_millis(50)).await;
        for client in &mut clients {
            closing += usize::from(next_response_asks_to_close(client).await);
        }
    }
    assert!(
        closing < 40,
        "{closing} of 40 connections of the same age close at the same time"
    );
}

/// The clients of [`assert_no_request_fails_while_connections_age`].
#[derive(Debug, Default)]
struct Clients {
    stop: AtomicBool,
    responses: AtomicU32,
}

impl Clients {
    fn are_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn count(&self, status: StatusCode, body: &[u8]) {
        assert_eq!((status, body), (StatusCode::OK, &b"ok"[..]));
        self.responses.fetch_add(1, Ordering::Relaxed);
    }

    fn responses(&self) -> u32 {
        self.responses.load(Ordering::Relaxed)
    }
}

/// Waits for an outcome of a request.
async fn outcome<T>(request: impl Future<Output = T>) -> T {
    let outcome = timeout(TEST_TIMEOUT, request).await;
    outcome.expect("each request gets a response, or a GOAWAY that reports it as not processed")
}

/// Runs 8 clients, each of which sends one request after another, while the server keeps closing their connections.
async fn assert_no_request_fails_while_connections_age<F>(client: impl Fn(SocketAddr, Arc<Clients>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let server = TestServer::start(&["--max-connection-age=20ms"]);
    let clients = Arc::new(Clients::default());
    let tasks = [(); 8].map(|()| tokio::spawn(client(server.address, Arc::clone(&clients))));
    tokio::time::sleep(Duration::from_secs(2)).await;
    until("more than 100 responses", || clients.responses() > 100).await;
    clients.stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    let processed = r#"http_requests_total{method="GET",route="/ok",status="200"}"#;
    assert_eq!(
        server.metric(processed),
        Some(f64::from(clients.responses())),
        "the server processes each request once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_http1_connections_age() {
    // A retry would hide a connection that closed during a request.
    let client = Client::builder()
        .http1_only()
        .retry(reqwest::retry::never())
        .build()
        .unwrap();
    assert_no_request_fails_while_connections_age(move |address, clients| {
        let client = client.clone();
        async move {
            while !clients.are_stopped() {
                let request = client.get(format!("http://{address}/ok")).send();
                let response = outcome(request).await.expect("no request fails");
                let status = response.status();
                let body = outcome(response.bytes()).await.expect("no body breaks off");
                clients.count(status, &body);
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_http2_connections_age() {
    // This uses h2 directly: hyper's client never completes a request that it gets at the moment when its connection
    // ends.
    assert_no_request_fails_while_connections_age(async move |address, clients| {
        while !clients.are_stopped() {
            let stream = TcpStream::connect(address).await.unwrap();
            let (sender, connection) = outcome(h2::client::handshake(stream)).await.unwrap();
            tokio::spawn(connection);
            let streams = [(); 4].map(|()| send_until_goaway(sender.clone(), &clients));
            // Otherwise the connection would wait for further requests.
            drop(sender);
            join_all(streams).await;
        }
    })
    .await;
}

/// Sends one request after another on an HTTP/2 connection, until the server closes it with GOAWAY. Fails if the server
/// loses a request: a client may repeat only those that the GOAWAY reports as not processed (RFC 9113, 6.8).
async fn send_until_goaway(mut sender: SendRequest<Bytes>, clients: &Clients) {
    while !clients.are_stopped() {
        let request = async {
            sender = sender.clone().ready().await?;
            let (response, _) =
                sender.send_request(Request::get("http://test/ok").body(()).unwrap(), true)?;
            let (head, mut body) = response.await?.into_parts();
            let mut bytes = Vec::new();
            while let Some(data) = body.data().await {
                bytes.extend(data?);
            }
            Ok::<_, h2::Error>((head.status, bytes))
        };
        match outcome(request).await {
            Ok((status, body)) => clients.count(status, &body),
            Err(error) => {
                let is_graceful = error.is_go_away() && error.reason() == Some(Reason::NO_ERROR);
                assert!(is_graceful && error.is_remote(), "no request fails: {error:?}");
                return;
            }
        }
    }
}

#[tokio::test]
async fn http2_works_without_tls() {
    let server = TestServer::start(&[]);
    let client = Client::builder().http2_prior_knowledge().build().unwrap();
    let response = client.get(server.url("/ok")).send().await.unwrap();
    assert_eq!(response.version(), reqwest::Version::HTTP_2);
    assert_eq!(response.text().await.unwrap(), "ok");
}

#[tokio::test]
async fn the_disconnect_of_a_client_cancels_its_request() {
    let server = TestServer::start(&[]);
    let mut client = RawClient::connect(server.address).await;
    client.send("GET /wait HTTP/1.1\r\nhost: test\r\n\r\n").await;
    server.until_in_flight(1).await;
    drop(client);
    server.until_in_flight(0).await;
    let cancelled = r#"http_requests_total{method="GET",route="/wait",status="499"}"#;
    until("the cancelled request is counted", || {
        server.metric(cancelled) == Some(1.0)
    })
    .await;
}
