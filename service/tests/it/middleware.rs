//! The effect of each middleware layer on a response.

use std::io;
use std::sync::{Arc, Mutex, Once};
use std::thread;
use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tracing::subscriber::DefaultGuard;
use wiring::exposition;

use super::support::{RawClient, TestServer, until};

#[tokio::test]
async fn a_request_above_max_in_flight_is_shed_at_once() {
    let server = TestServer::start(&["--max-in-flight=2"]);
    let client = Client::new();
    let held = [(); 2].map(|()| tokio::spawn(client.get(server.url("/wait")).send()));
    server.until_in_flight(2).await;

    let shed = client.get(server.url("/ok")).send().await.unwrap();
    assert_eq!(shed.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(shed.headers()["retry-after"], "1");
    assert_eq!(shed.text().await.unwrap(), "overloaded, try again");
    assert_eq!(
        server.metric(r#"http_requests_total{method="GET",route="/ok",status="503"}"#),
        Some(1.0)
    );

    server.gate.add_permits(2);
    for task in held {
        assert_eq!(
            task.await.unwrap().unwrap().status(),
            StatusCode::OK,
            "an admitted request completes"
        );
    }
    assert_eq!(
        client.get(server.url("/ok")).send().await.unwrap().status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_panic_becomes_a_500_and_the_connection_stays_open() {
    let (log, _guard) = Log::capture();
    let server = TestServer::start(&[]);
    let mut client = RawClient::connect(server.address).await;
    let response = client.get("/panic").await;
    assert!(response.starts_with("HTTP/1.1 500 "), "{response}");
    assert!(
        response.ends_with("internal error"),
        "the response must not contain the cause: {response}"
    );
    assert!(client.get("/ok").await.starts_with("HTTP/1.1 200 "));
    assert_eq!(
        server.metric(r#"http_requests_total{method="GET",route="/panic",status="500"}"#),
        Some(1.0)
    );
    let errors = log.events("ERROR");
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0]["error"], "a handler panicked");
    assert_eq!(errors[0]["http.route"], "/panic");
    let id = errors[0]["request.id"].as_str().unwrap();
    assert!(
        response.contains(&format!("x-request-id: {id}\r\n")),
        "{id}: {response}"
    );
}

#[tokio::test]
async fn failures_of_one_cause_are_logged_ten_times_a_second_and_the_rest_is_counted() {
    let (log, _guard) = Log::capture();
    let server = TestServer::start(&[]);
    let mut client = RawClient::connect(server.address).await;
    for _ in 0..50 {
        assert!(client.get("/fail").await.starts_with("HTTP/1.1 502 "));
    }
    let left_out = || -> u64 {
        let warnings = log.events("WARN");
        warnings
            .iter()
            .filter_map(|event| event["log.left_out"].as_u64())
            .sum()
    };
    let logged = || {
        let warnings = log.events("WARN");
        warnings
            .iter()
            .filter(|event| event["http.status"] == 502)
            .count()
    };
    // A slow machine needs more than one second, and logs ten more in the next.
    until("each failure is logged or counted", || {
        logged() as u64 + left_out() == 50 && left_out() > 0
    })
    .await;
    assert!((10..50).contains(&logged()), "{} of 50 were logged", logged());
}

#[tokio::test]
async fn a_failure_is_logged_with_the_trace_of_its_client_or_a_new_one() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";
    let (log, _guard) = Log::capture();
    let server = TestServer::start(&[]);
    let mut client = RawClient::connect(server.address).await;
    for traceparent in [
        format!("00-{TRACE}-{PARENT}-01"),
        format!("00-{TRACE}-{PARENT}-01").to_uppercase(),
    ] {
        client
            .send(&format!(
                "GET /fail HTTP/1.1\r\nhost: test\r\ntraceparent: {traceparent}\r\n\r\n"
            ))
            .await;
        client.response().await;
    }
    let warnings = log.events("WARN");
    let [continued, new] = warnings.as_slice() else {
        panic!("{warnings:?}");
    };
    assert_eq!(continued["trace.id"], TRACE);
    let span = continued["span.id"].as_str().unwrap();
    assert!(
        span.len() == 16 && span != PARENT,
        "{span}: the span of this request, not of its client"
    );
    let trace = new["trace.id"].as_str().unwrap();
    assert!(trace.len() == 32 && trace != TRACE, "{trace}");
}

#[test]
fn an_event_that_the_thread_of_another_test_logs_first_is_captured() {
    let (log, _guard) = Log::capture();
    let event = || tracing::error!("an event");
    thread::spawn(event).join().unwrap();
    event();
    assert_eq!(log.events("ERROR").len(), 1);
}

/// The captured log: one JSON object per line.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Captures the log of this thread until the guard is dropped. The tasks of the server run on the thread of the test.
    fn capture() -> (Self, DefaultGuard) {
        // tracing caches for all threads whether an event is enabled, when the first thread logs it. Therefore the
        // threads of other tests need a subscriber that enables it, too.
        static EVERY_THREAD: Once = Once::new();
        EVERY_THREAD.call_once(|| {
            let discarding = tracing_subscriber::fmt().with_writer(io::sink).finish();
            tracing::subscriber::set_global_default(discarding).unwrap();
        });
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_writer(move || writer.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// Returns the events of one level.
    fn events(&self, level: &str) -> Vec<Value> {
        let bytes = self.0.lock().unwrap().clone();
        let events = String::from_utf8(bytes).unwrap();
        events
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|event| event["level"] == level)
            .collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_request_that_exceeds_the_request_timeout_gets_a_504() {
    let server = TestServer::start(&["--request-timeout=100ms"]);
    let response = Client::new().get(server.url("/wait")).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(server.http.in_flight(), 0);
}

#[tokio::test]
async fn a_body_at_the_limit_passes_and_a_larger_one_gets_413() {
    let server = TestServer::start(&["--max-body-bytes=1000"]);
    let post = |bytes: usize| {
        Client::new()
            .post(server.url("/size"))
            .body(vec![b'x'; bytes])
            .send()
    };
    assert_eq!(post(1000).await.unwrap().text().await.unwrap(), "1000");
    assert_eq!(post(1001).await.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_client_that_sends_a_far_too_large_body_still_gets_413() {
    let server = TestServer::start(&["--max-body-bytes=1000"]);
    for _ in 0..20 {
        // The body exceeds the socket buffers: if the server closed at once, it would reset the connection while the
        // client sends.
        let sent = Client::new()
            .post(server.url("/size"))
            .body(vec![b'x'; 8_000_000])
            .send();
        assert_eq!(
            sent.await.expect("a response").status(),
            StatusCode::PAYLOAD_TOO_LARGE
        );
    }
}

#[tokio::test]
async fn the_limit_applies_to_a_body_without_a_length_too() {
    let server = TestServer::start(&["--max-body-bytes=10"]);
    let mut client = RawClient::connect(server.address).await;
    client
        .send("POST /size HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    client.send("8\r\n01234567\r\n8\r\n01234567\r\n0\r\n\r\n").await;
    let response = client.response().await;
    assert!(response.starts_with("HTTP/1.1 413 "), "{response}");
}

#[tokio::test]
async fn every_response_has_the_request_id_and_x_served_by() {
    let server = TestServer::start(&["--max-body-bytes=10"]);
    let client = Client::new();
    let requests = [
        client.get(server.url("/ok")),
        client.head(server.url("/ok")),
        client.get(server.url("/nowhere")),
        client.delete(server.url("/ok")),
        client.get(server.url("/panic")),
        client.post(server.url("/size")).body("x".repeat(11)),
    ];
    for request in requests {
        let response = request.header("x-request-id", "abc-123").send().await.unwrap();
        assert_eq!(response.headers()["x-request-id"], "abc-123", "{response:?}");
        assert_eq!(response.headers()["x-served-by"], "pod-7", "{response:?}");
    }
    let generated = client
        .get(server.url("/ok"))
        .header("x-request-id", "not valid")
        .send()
        .await
        .unwrap();
    assert_eq!(generated.headers()["x-request-id"].len(), 32);
}

#[tokio::test]
async fn the_accept_header_selects_text_or_json_for_errors() {
    let server = TestServer::start(&[]);
    let get = |accept: &str| {
        Client::new()
            .get(server.url("/nowhere"))
            .header("accept", accept)
            .send()
    };
    let text = get("*/*").await.unwrap();
    assert_eq!(text.headers()["content-type"], "text/html; charset=utf-8");
    assert_eq!(text.headers()["vary"], "accept");
    assert_eq!(text.text().await.unwrap(), "not found");
    let json = get("application/json").await.unwrap();
    assert_eq!(json.headers()["content-type"], "application/json");
    assert_eq!(json.status(), StatusCode::NOT_FOUND);
    assert_eq!(
        json.json::<Value>().await.unwrap(),
        json!({ "error": "not found" })
    );
}

#[tokio::test]
async fn an_error_response_to_head_has_a_content_length_and_no_body() {
    let server = TestServer::start(&[]);
    // hyper sends a body on HTTP/2 even in a response to HEAD, and the client treats it as a broken stream.
    let http2 = Client::builder().http2_prior_knowledge().build().unwrap();
    for client in [Client::new(), http2] {
        let response = client.head(server.url("/nowhere")).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(response.headers()["content-length"], "9", "{response:?}");
        assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
        assert_eq!(response.text().await.unwrap(), "");
    }
}

#[tokio::test]
async fn requests_that_match_no_route_share_one_series() {
    let server = TestServer::start(&[]);
    for path in ["/a", "/b", "/c/d?e=f"] {
        assert_eq!(
            Client::new().get(server.url(path)).send().await.unwrap().status(),
            StatusCode::NOT_FOUND
        );
    }
    assert_eq!(
        server.metric(r#"http_requests_total{method="GET",route="unmatched",status="404"}"#),
        Some(3.0)
    );
}

#[tokio::test]
async fn probes_and_scrapes_do_not_count_as_requests() {
    let server = TestServer::start(&[]);
    let client = Client::new();
    for path in ["/livez", "/readyz", "/metrics"] {
        for _ in 0..20 {
            assert_eq!(
                client.get(server.admin_url(path)).send().await.unwrap().status(),
                StatusCode::OK,
                "{path}"
            );
        }
    }
    let scraped = client
        .get(server.admin_url("/metrics"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let known = r#"http_requests_total{method="GET",route="/ok",status="200"}"#;
    assert_eq!(
        exposition::value(&scraped, known),
        Some(0.0),
        "the series exists before the first request"
    );
    assert_eq!(
        exposition::sum(&scraped, "http_requests_total"),
        Ok(0.0),
        "{scraped}"
    );
}

#[tokio::test]
async fn the_admin_routes_are_not_on_the_public_listener() {
    let server = TestServer::start(&[]);
    for path in ["/metrics", "/livez", "/readyz"] {
        assert_eq!(
            Client::new().get(server.url(path)).send().await.unwrap().status(),
            StatusCode::NOT_FOUND
        );
    }
}

#[tokio::test]
async fn the_duration_of_a_request_is_measured() {
    let server = TestServer::start(&[]);
    let request = tokio::spawn(Client::new().get(server.url("/wait")).send());
    server.until_in_flight(1).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    server.gate.add_permits(1);
    request.await.unwrap().unwrap();
    let sum = r#"http_request_duration_seconds_sum{method="GET",route="/wait"}"#;
    until("the duration is observed", || {
        server.metric(sum).is_some_and(|seconds| seconds > 0.14)
    })
    .await;
}
