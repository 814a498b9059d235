//! The MUSTs of RFC 9110 and RFC 9112 for an origin server, over a raw socket.

use super::support::{RawClient, TestServer};

/// Sends a request on a new connection, and returns the response.
async fn respond(server: &TestServer, request: &str) -> String {
    let mut client = RawClient::connect(server.address).await;
    client.send(request).await;
    client.response().await
}

#[tokio::test]
async fn requests_get_the_status_that_the_rfcs_demand() {
    let server = TestServer::start(&["--max-body-bytes=1000"]);
    let cases = [
        // RFC 9112, 3.2: exactly one valid Host.
        ("GET /ok HTTP/1.1\r\n\r\n", 400),
        ("GET /ok HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", 400),
        ("GET /ok HTTP/1.1\r\nhost: a/b\r\n\r\n", 400),
        ("GET /ok HTTP/1.1\r\nhost: a:80\r\n\r\n", 200),
        ("GET /ok HTTP/1.0\r\n\r\n", 200),
        // RFC 9112, 3.2.2: the absolute form.
        ("GET http://a/ok HTTP/1.1\r\nhost: a\r\n\r\n", 200),
        // RFC 9112, 2.2: an empty line before the request line is ignored.
        ("\r\nGET /ok HTTP/1.1\r\nhost: a\r\n\r\n", 200),
        // RFC 9112, 5.1: no whitespace before the colon.
        ("GET /ok HTTP/1.1\r\nhost : a\r\n\r\n", 400),
        // RFC 9112, 5.2: no obsolete line folding.
        ("GET /ok HTTP/1.1\r\nhost: a\r\nx: 1\r\n 2\r\n\r\n", 400),
        // RFC 9112, 6.1: an unknown transfer coding, and one that does not end in chunked.
        (
            "POST /size HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n",
            400,
        ),
        // RFC 9112, 6.3: an invalid Content-Length.
        ("POST /size HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n", 400),
        (
            "POST /size HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
            400,
        ),
        // RFC 9110, 9.1: an unknown method is not a reason to close.
        ("BREW /ok HTTP/1.1\r\nhost: a\r\n\r\n", 405),
    ];
    for (request, status) in cases {
        let response = respond(&server, request).await;
        let start = if request.contains("HTTP/1.0") {
            "HTTP/1.0"
        } else {
            "HTTP/1.1"
        };
        assert!(
            response.starts_with(&format!("{start} {status} ")),
            "{request:?}: expected {status}: {response}"
        );
    }
}

#[tokio::test]
async fn a_request_with_an_invalid_host_is_counted_and_named() {
    let server = TestServer::start(&[]);
    let response = respond(&server, "GET /ok HTTP/1.1\r\n\r\n").await;
    assert!(response.contains("x-served-by: pod-7\r\n"), "{response}");
    assert!(response.ends_with("bad request"), "{response}");
    let counter = r#"http_requests_total{method="GET",route="/ok",status="400"}"#;
    assert_eq!(server.metric(counter), Some(1.0));
}

#[tokio::test]
async fn a_connection_with_invalid_http_is_counted() {
    let server = TestServer::start(&[]);
    let large = format!(
        "GET /ok HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "x".repeat(100_000)
    );
    for (request, status) in [("nonsense\r\n\r\n", "400"), (&*large, "431")] {
        let response = respond(&server, request).await;
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{response}");
    }
    server.until_ended("invalid_request", 2.0).await;
}

#[tokio::test]
async fn options_lists_the_methods_of_a_route() {
    let server = TestServer::start(&[]);
    let response = respond(&server, "OPTIONS /ok HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    assert!(response.contains("allow: GET,HEAD,OPTIONS\r\n"), "{response}");
    assert!(response.ends_with("\r\n\r\n"), "no body: {response}");
    let all = respond(&server, "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(all.starts_with("HTTP/1.1 200 "), "{all}");
    let unknown = respond(&server, "OPTIONS /unknown HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(unknown.starts_with("HTTP/1.1 404 "), "{unknown}");
}

#[tokio::test]
async fn a_client_that_expects_100_continue_gets_it_before_it_sends_the_body() {
    let server = TestServer::start(&[]);
    let mut client = RawClient::connect(server.address).await;
    client
        .send("POST /size HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\n")
        .await;
    assert_eq!(client.response().await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("abc").await;
    assert!(client.response().await.ends_with("\r\n\r\n3"));
}

#[tokio::test]
async fn a_response_to_head_has_the_headers_of_get_and_no_body() {
    let server = TestServer::start(&[]);
    let mut client = RawClient::connect(server.address).await;
    client
        .send("HEAD /ok HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await;
    let response = String::from_utf8(client.read_to_end().await).unwrap();
    assert!(response.contains("content-length: 2\r\n"), "{response}");
    assert!(response.ends_with("\r\n\r\n"), "{response}");
}
