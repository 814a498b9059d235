//! Outages of `app_b`: down, slow, broken or overloaded, and the recovery.

use std::time::Duration;

use reqwest::{Client, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use wiring::exposition;

use super::process::free_address;
use super::support::proxy::{Mode, Proxy};
use super::support::{AppA, start_app_a, start_app_b, until};

/// Starts both services with a proxy between them.
async fn start_pair(flags: &[&str]) -> (AppA, Proxy) {
    let proxy = Proxy::start(start_app_b(&[])).await;
    (start_app_a(proxy.address, flags), proxy)
}

async fn assert_response(response: Response, status: u16, body: &str) {
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()["x-served-by"], "pod-7");
    assert_eq!(
        response.text().await.unwrap(),
        body,
        "the body must not contain the cause"
    );
}

#[tokio::test]
async fn a_refused_connection_is_502_until_app_b_is_back() {
    let address = free_address();
    let flags = [
        "--app-b-connect-timeout=20s",
        "--app-b-timeout=30s",
        "--request-timeout=40s",
    ];
    let app_a = start_app_a(address, &flags);
    let started = Instant::now();
    assert_response(app_a.put_jobs().await, 502, "bad gateway").await;
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "app_a waited for the connect timeout: {:?}",
        started.elapsed()
    );
    assert_eq!(app_a.calls("unreachable"), 1);

    let listener = TcpListener::bind(address)
        .await
        .expect("the address is still free");
    let _proxy = Proxy::on(listener, start_app_b(&[]));
    assert_eq!(
        app_a.put_jobs().await.status(),
        200,
        "the first request after the outage"
    );
}

/// A listener that establishes no connection until it accepts the returned ones: they fill its backlog.
async fn full_listener() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(free_address()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(connected) = timeout(Duration::from_secs(1), TcpStream::connect(address)).await {
        waiting.push(connected.unwrap());
    }
    (listener, waiting)
}

#[tokio::test]
async fn a_connection_that_is_not_established_in_time_is_tried_once_more() {
    let (listener, waiting) = full_listener().await;
    let address = listener.local_addr().unwrap();
    // Less than a second, after which the kernel repeats its attempt by itself.
    let app_a = start_app_a(address, &["--app-b-connect-timeout=900ms"]);
    let accept = async {
        // Later than the first attempt, and before its timeout.
        sleep(Duration::from_millis(600)).await;
        drop(waiting);
        Proxy::on(listener, start_app_b(&[]))
    };
    let (response, _proxy) = tokio::join!(app_a.put_jobs(), accept);
    assert_eq!(response.status(), 200);
    assert_eq!(app_a.retries(), 1);
    assert_eq!(app_a.calls("deadline"), 0);
}

#[tokio::test]
async fn a_connection_that_is_never_established_is_504_after_two_attempts() {
    let (listener, _waiting) = full_listener().await;
    let address = listener.local_addr().unwrap();
    let flags = [
        "--app-b-connect-timeout=200ms",
        "--app-b-timeout=30s",
        "--request-timeout=40s",
    ];
    let app_a = start_app_a(address, &flags);
    let started = Instant::now();
    assert_response(app_a.put_jobs().await, 504, "gateway timeout").await;
    let waited = started.elapsed();
    assert!(
        (Duration::from_millis(400)..Duration::from_secs(15)).contains(&waited),
        "{waited:?}"
    );
    assert_eq!(app_a.retries(), 1);
    assert_eq!(app_a.calls("deadline"), 1);
}

#[tokio::test]
async fn a_stalled_response_is_504_until_app_b_is_back() {
    // Long enough for the successful calls, even on a busy machine.
    let (app_a, proxy) = start_pair(&["--app-b-timeout=2s", "--request-timeout=30s"]).await;
    assert_eq!(app_a.put_jobs().await.status(), 200);
    proxy.set(Mode::Stall);
    let started = Instant::now();
    assert_response(app_a.put_jobs().await, 504, "gateway timeout").await;
    let waited = started.elapsed();
    assert!(
        (Duration::from_secs(2)..Duration::from_secs(15)).contains(&waited),
        "{waited:?}"
    );
    assert!(app_a.calls("deadline") > 0);
    proxy.set(Mode::Forward);
    assert_eq!(
        app_a.put_jobs().await.status(),
        200,
        "the first request after the outage"
    );
}

#[tokio::test]
async fn a_response_that_never_completes_is_504() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app_a = start_app_a(
        address,
        &["--app-b-timeout=300ms", "--app-b-connect-timeout=200ms"],
    );
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_u8().await.unwrap();
        let part = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 7\r\n\r\nden";
        stream.write_all(part).await.unwrap();
        std::future::pending::<()>().await;
    });
    assert_eq!(app_a.put_jobs().await.status(), 504);
}

#[tokio::test]
async fn an_invalid_response_is_502() {
    let (app_a, proxy) = start_pair(&[]).await;
    let responses = [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\ndensity",
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 15\r\n\r\n<h1>proxy</h1>\n",
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 9999\r\n\r\ndensity",
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/html\r\ncontent-length: 4\r\n\r\nfail",
        "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n",
    ];
    for response in responses {
        proxy.set(Mode::Respond(response));
        assert_eq!(app_a.put_jobs().await.status(), 502, "{response:?}");
    }
    proxy.set(Mode::Forward);
    assert_eq!(app_a.put_jobs().await.status(), 200);
}

#[tokio::test]
async fn an_overloaded_app_b_is_503_with_retry_after() {
    let (app_a, proxy) = start_pair(&[]).await;
    proxy.set(Mode::Respond(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
    ));
    let response = app_a.put_jobs().await;
    assert_eq!(response.headers()["retry-after"], "1");
    assert_response(response, 503, "overloaded, try again").await;
    assert!(app_a.calls("shed") > 0);
}

#[tokio::test]
async fn a_connection_that_closes_without_a_response_causes_one_retry() {
    // Both calls use the same connection.
    let (app_a, proxy) = start_pair(&["--app-b-connections=1"]).await;
    assert_eq!(app_a.put_jobs().await.status(), 200);
    // The peer closes the connection once, and then works.
    proxy.set(Mode::CloseOnce);
    assert_eq!(app_a.put_jobs().await.status(), 200);
    assert_eq!(app_a.retries(), 1);
}

#[tokio::test]
async fn a_peer_that_always_closes_gets_two_attempts() {
    let (app_a, proxy) = start_pair(&[]).await;
    proxy.set(Mode::Close);
    assert_response(app_a.put_jobs().await, 502, "bad gateway").await;
    assert_eq!(app_a.retries(), 1);
    assert_eq!(app_a.calls("unreachable"), 1, "two attempts are one call");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_fails_while_app_b_closes_old_connections() {
    let app_b = start_app_b(&["--max-connection-age=20ms"]);
    let app_a = start_app_a(app_b, &[]);
    let deadline = Instant::now() + Duration::from_secs(2);
    let mut calls = 0;
    while Instant::now() < deadline || calls < 50 {
        assert_eq!(app_a.put_jobs().await.status(), 200);
        calls += 1;
    }
    assert_eq!(app_a.retries(), 0, "a graceful close needs no retry");
}

#[tokio::test]
async fn hello_and_readiness_do_not_depend_on_app_b() {
    let (app_a, proxy) = start_pair(&[]).await;
    proxy.set(Mode::Stall);
    for url in [app_a.url("/hello"), format!("http://{}/readyz", app_a.admin)] {
        assert_eq!(reqwest::get(url).await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn the_disconnect_of_a_client_cancels_its_call() {
    let (app_a, proxy) = start_pair(&[]).await;
    proxy.set(Mode::Stall);
    let request = Client::new().put(app_a.url("/jobs"));
    let request = tokio::spawn(request.header("authorization", "mytoken").send());
    until("the request is in flight", || app_a.metrics.http.in_flight() == 1).await;
    request.abort();
    let cancelled = r#"http_requests_total{method="PUT",route="/jobs",status="499"}"#;
    until("the cancelled request is counted", || app_a.metric(cancelled) > 0).await;
    assert_eq!(app_a.metrics.http.in_flight(), 0);
    assert_eq!(app_a.calls("cancelled"), 1, "the call is counted too");
}

#[tokio::test]
async fn a_call_that_the_request_timeout_aborts_counts_as_cancelled() {
    // The binary rejects this configuration. It simulates a call that starts shortly before the request timeout.
    let (app_a, proxy) = start_pair(&["--request-timeout=300ms", "--app-b-timeout=30s"]).await;
    proxy.set(Mode::Stall);
    assert_response(app_a.put_jobs().await, 504, "gateway timeout").await;
    assert_eq!(app_a.calls("cancelled"), 1);
    assert_eq!(app_a.calls("deadline"), 0);
}

#[test]
fn every_outcome_of_a_call_has_a_series_at_0_before_the_first_call() {
    let text = app_a::metrics_text();
    for outcome in [
        "known",
        "unknown",
        "unreachable",
        "deadline",
        "shed",
        "bad_answer",
        "cancelled",
    ] {
        let series = format!(r#"http_client_requests_total{{outcome="{outcome}",peer="app_b"}}"#);
        assert_eq!(exposition::value(&text, &series), Some(0.0), "{series}: {text}");
    }
}

#[tokio::test]
async fn app_a_forwards_the_request_id_as_a_header_and_the_token_as_a_form() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app_a = start_app_a(listener.local_addr().unwrap(), &[]);
    let received = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut received = Vec::new();
        while !received.ends_with(b"token=a+b%26c") {
            received.push(stream.read_u8().await.unwrap());
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 4\r\n\r\nfail")
            .await
            .unwrap();
        String::from_utf8(received).unwrap().to_lowercase()
    });
    let request = Client::new()
        .put(app_a.url("/jobs"))
        .header("authorization", "Bearer a b&c");
    let response = request.header("x-request-id", "trace-me").send().await.unwrap();
    assert_eq!(response.status(), 401);
    let received = timeout(super::support::TEST_TIMEOUT, received)
        .await
        .expect("a call to app_b")
        .unwrap();
    assert!(received.starts_with("post /auth http/1.1\r\n"), "{received}");
    assert!(received.contains("x-request-id: trace-me\r\n"), "{received}");
    assert!(
        received.contains("content-type: application/x-www-form-urlencoded\r\n"),
        "{received}"
    );
    assert!(!received.contains("authorization"), "{received}");
}
