//! How long a connection may take, idle, and live.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Client;
use tokio::time::Instant;

use super::support::{PATIENCE, RawClient, TestServer, until};

const SHORT: &str = "--header-read-timeout=300ms";

#[tokio::test]
async fn a_connection_that_sends_nothing_is_closed_after_the_header_read_timeout() {
    let server = TestServer::start(&[SHORT]).await;
    let mut client = RawClient::connect(server.address).await;
    let waited = client.closed().await;
    assert!(
        (Duration::from_millis(200)..Duration::from_secs(5)).contains(&waited),
        "{waited:?}"
    );
}

#[tokio::test]
async fn a_head_sent_byte_by_byte_does_not_extend_the_header_read_timeout() {
    let server = TestServer::start(&[SHORT]).await;
    let mut client = RawClient::connect(server.address).await;
    client.send("GET /ok HTTP/1.1\r\nhost: test\r\n").await;
    let started = Instant::now();
    let mut closed = false;
    while !closed && started.elapsed() < Duration::from_secs(5) {
        client.send("x").await;
        closed = tokio::time::timeout(Duration::from_millis(20), client.closed())
            .await
            .is_ok();
    }
    assert!(closed, "still open after {:?}", started.elapsed());
}

#[tokio::test]
async fn the_second_head_on_a_connection_is_bounded_too() {
    let server = TestServer::start(&[SHORT]).await;
    let mut client = RawClient::connect(server.address).await;
    client.get("/ok").await;
    client.send("GET /ok HT").await;
    let waited = client.closed().await;
    assert!(waited < Duration::from_secs(5), "{waited:?}");
}

#[tokio::test]
async fn an_idle_connection_outlives_the_header_read_timeout_and_ends_with_the_keep_alive_timeout() {
    let keep_alive = Duration::from_secs(3);
    let server = TestServer::start(&["--header-read-timeout=100ms", "--keep-alive-timeout=3s"]).await;
    let mut client = RawClient::connect(server.address).await;
    client.get("/ok").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let started = Instant::now();
    assert!(client.get("/ok").await.starts_with("HTTP/1.1 200 "));
    client.closed().await;
    assert!(started.elapsed() >= keep_alive, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_request_in_flight_is_bounded_by_none_of_them() {
    let flags = [SHORT, "--keep-alive-timeout=100ms", "--max-connection-age=100ms"];
    let server = TestServer::start(&flags).await;
    let mut client = RawClient::connect(server.address).await;
    client.send("GET /wait HTTP/1.1\r\nhost: test\r\n\r\n").await;
    tokio::time::sleep(Duration::from_millis(800)).await;
    server.gate.add_permits(1);
    assert!(client.answer().await.ends_with("waited"));
}

#[tokio::test]
async fn a_connection_of_age_is_asked_to_close_with_its_next_answer() {
    let server = TestServer::start(&["--max-connection-age=500ms"]).await;
    let started = Instant::now();
    let mut client = RawClient::connect(server.address).await;
    while !is_asked_to_close(&mut client).await {
        assert!(started.elapsed() < PATIENCE, "no answer asks to close");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(
        started.elapsed() >= Duration::from_millis(400),
        "not before its age, less the spread: {:?}",
        started.elapsed()
    );
    // By the age, and long before the keep-alive timeout.
    client.closed().await;
}

/// Whether the next answer, which has to be a good one, asks to close.
async fn is_asked_to_close(client: &mut RawClient) -> bool {
    let answer = client.get("/ok").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    answer.contains("connection: close")
}

#[tokio::test]
async fn the_age_differs_between_connections() {
    // They are spread over two seconds, so that all are found closing at once only after a longer pause of the test.
    let server = TestServer::start(&["--max-connection-age=5s"]).await;
    let started = Instant::now();
    let mut clients = Vec::new();
    for _ in 0..40 {
        clients.push(RawClient::connect(server.address).await);
    }
    let mut closing = 0;
    while closing == 0 {
        assert!(started.elapsed() < PATIENCE, "no answer asks to close");
        tokio::time::sleep(Duration::from_millis(50)).await;
        for client in &mut clients {
            closing += usize::from(is_asked_to_close(client).await);
        }
    }
    assert!(
        closing < 40,
        "of 40 connections of the same age, {closing} close at the same time"
    );
}

/// Clients that send one request after the other over kept connections, while those are closed again and again.
async fn no_request_fails_while_connections_age(client: Client) {
    let server = TestServer::start(&["--max-connection-age=20ms"]).await;
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut loops = Vec::new();
    for _ in 0..8 {
        let (client, url) = (client.clone(), server.url("/ok"));
        let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
        loops.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let answer = client.get(&url).send().await.expect("no request fails");
                assert_eq!(answer.status(), 200);
                answered.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    until("more than 100 answers", || answered.load(Ordering::Relaxed) > 100).await;
    stop.store(true, Ordering::Relaxed);
    for task in loops {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_http1_connections_age() {
    // Without retries, which would hide a connection that was closed under a request.
    let client = Client::builder()
        .http1_only()
        .retry(reqwest::retry::never())
        .build()
        .unwrap();
    no_request_fails_while_connections_age(client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_http2_connections_age() {
    // Clients of HTTP/2 send again what a GOAWAY says was not looked at (RFC 9113, 6.8), and only that.
    no_request_fails_while_connections_age(Client::builder().http2_prior_knowledge().build().unwrap()).await;
}

#[tokio::test]
async fn http2_works_without_tls() {
    let server = TestServer::start(&[]).await;
    let client = Client::builder().http2_prior_knowledge().build().unwrap();
    let answer = client.get(server.url("/ok")).send().await.unwrap();
    assert_eq!(answer.version(), reqwest::Version::HTTP_2);
    assert_eq!(answer.text().await.unwrap(), "ok");
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_connection() {
    let server = TestServer::start(&[]).await;
    let mut client = RawClient::connect(server.address).await;
    client.send("GET /wait HTTP/1.1\r\nhost: test\r\n\r\n").await;
    server.until_in_flight(1).await;
    drop(client);
    server.until_in_flight(0).await;
    let cancelled = r#"http_requests_total{method="GET",route="/wait",status="499"}"#;
    until("the cancelled request counted", || {
        server.metric(cancelled) == Some(1.0)
    })
    .await;
}
