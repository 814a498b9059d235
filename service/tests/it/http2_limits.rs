//! The limits of an HTTP/2 connection, the floods that it must withstand, and its metrics.

use super::frames::code::{ENHANCE_YOUR_CALM, NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM};
use super::frames::kind::{CONTINUATION, DATA, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS};
use super::frames::{
    ACK, END, END_STREAM, FrameClient, PREFACE, Reaction, block, frame, get, pseudo, setting, wait,
    window_update, with,
};
use super::support::{RawClient, TestServer};
use Reaction::{GoAway, Nothing, Reset, Status};

const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_HEADER_LIST_SIZE: u16 = 6;

#[tokio::test]
async fn the_limits_of_the_server_are_advertised() {
    let server = TestServer::start(&[]);
    let client = FrameClient::connect(server.address).await;
    for expected in [(MAX_CONCURRENT_STREAMS, 200), (MAX_HEADER_LIST_SIZE, 64 * 1024)] {
        assert!(client.settings.contains(&expected), "{:?}", client.settings);
    }
}

/// RFC 9113, 5.1.2: a stream above the advertised limit is refused. The client may try again.
#[tokio::test]
async fn a_stream_above_the_limit_is_refused() {
    let server = TestServer::start(&[]);
    let mut client = FrameClient::connect(server.address).await;
    for number in 0..200 {
        client.send(&wait(2 * number + 1)).await;
    }
    server.until_in_flight(200).await;
    client.send(&get(401)).await;
    assert_eq!(client.reaction(true).await, Reset(REFUSED_STREAM));
    server.gate.add_permits(200);
    client.until("a response", |frame| frame.kind == HEADERS).await;
}

/// RFC 9113, 6.7: the acknowledgement of a PING has its payload.
#[tokio::test]
async fn a_ping_is_acknowledged_with_its_payload() {
    let server = TestServer::start(&[]);
    let mut client = FrameClient::connect(server.address).await;
    client.send(&frame(PING, 0, 0, b"payload!")).await;
    let ping = client.until("a PING", |frame| frame.kind == PING).await;
    assert_eq!(
        (ping.flags, ping.stream, &ping.payload[..]),
        (ACK, 0, &b"payload!"[..])
    );
}

/// RFC 9113, 6.9: the server sends no more than the windows of the client allow.
#[tokio::test]
async fn the_window_of_the_client_bounds_the_response() {
    let server = TestServer::start(&[]);
    let mut client = FrameClient::connect_with(server.address, &setting(INITIAL_WINDOW_SIZE, 1)).await;
    client.send(&get(1)).await;
    for (byte, flags) in [(b"o", 0), (b"k", END_STREAM)] {
        let data = client.until("DATA", |frame| frame.kind == DATA).await;
        assert_eq!((&data.payload[..], data.flags), (&byte[..], flags));
        // Until the window opens, nothing follows.
        if flags == 0 {
            assert_eq!(client.reaction(false).await, Nothing);
            client.send(&window_update(1, 1)).await;
        }
    }
}

/// RFC 9113, 3.4: a client that does not send the whole preface does not speak HTTP/2.
#[tokio::test]
async fn an_invalid_preface_closes_the_connection() {
    let server = TestServer::start(&[]);
    let invalid = [
        [
            b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
            &frame(SETTINGS, 0, 0, b"")[..],
        ]
        .concat(),
        [PREFACE, &frame(SETTINGS, 0, 0, &[0; 5])].concat(),
    ];
    for bytes in invalid {
        let mut client = FrameClient::open(server.address).await;
        client.send(&bytes).await;
        while client.next().await.is_some() {}
    }
    // RFC 9113 demands SETTINGS as the first frame. h2 accepts others.
    let mut client = FrameClient::open(server.address).await;
    client.send(&[PREFACE, &get(1)].concat()).await;
    assert_eq!(client.reaction(true).await, Status(200));
}

/// CVE-2023-44487: a client that opens and resets streams does not make the server start requests without bound.
#[tokio::test]
async fn a_rapid_reset_is_bounded() {
    let server = TestServer::start(&[]);
    let mut client = FrameClient::connect(server.address).await;
    let flood: Vec<u8> = (0..20_000)
        .flat_map(|number| {
            [
                wait(2 * number + 1),
                frame(RST_STREAM, 0, 2 * number + 1, &8_u32.to_be_bytes()),
            ]
            .concat()
        })
        .collect();
    client.send(&flood).await;
    assert_eq!(client.reaction(true).await, GoAway(ENHANCE_YOUR_CALM));
    server.until_in_flight(0).await;
}

/// CVE-2024-27316: a header block without an end does not take memory without bound.
#[tokio::test]
async fn a_flood_of_continuation_is_bounded() {
    let server = TestServer::start(&[]);
    for payload in [&b""[..], &block(&[("x", &"x".repeat(16_000))])] {
        let mut client = FrameClient::connect(server.address).await;
        client
            .send(&frame(HEADERS, END_STREAM, 1, &block(&pseudo("GET", "/ok"))))
            .await;
        for _ in 0..1000 {
            client.send(&frame(CONTINUATION, 0, 1, payload)).await;
        }
        assert_eq!(client.reaction(true).await, GoAway(ENHANCE_YOUR_CALM));
    }
}

/// A client that keeps causing stream errors is disconnected.
#[tokio::test]
async fn a_flood_of_invalid_requests_is_bounded() {
    let server = TestServer::start(&[]);
    let mut client = FrameClient::connect(server.address).await;
    let invalid = block(&[&pseudo("GET", "/ok")[..], &[("connection", "close")]].concat());
    let flood: Vec<u8> = (0..20_000)
        .flat_map(|number| frame(HEADERS, END, 2 * number + 1, &invalid))
        .collect();
    client.send(&flood).await;
    client.until("GOAWAY", |frame| frame.kind == GOAWAY).await;
}

#[tokio::test]
async fn a_request_with_an_invalid_authority_is_counted() {
    let server = TestServer::start(&[]);
    let mut client = FrameClient::connect(server.address).await;
    client.send(&with(&[("host", "b")])).await;
    assert_eq!(client.reaction(true).await, Status(400));
    let counter = r#"http_requests_total{method="GET",route="/ok",status="400"}"#;
    assert_eq!(server.metric(counter), Some(1.0));
}

#[tokio::test]
async fn a_connection_with_invalid_http_2_is_counted() {
    let server = TestServer::start(&[]);
    let mut client = FrameClient::connect(server.address).await;
    client.send(&get(2)).await;
    assert_eq!(client.reaction(false).await, GoAway(PROTOCOL_ERROR));
    drop(client);
    server.until_ended("invalid_request", 1.0).await;
    // A client that leaves without an error is not.
    let mut client = FrameClient::connect(server.address).await;
    client.send(&frame(GOAWAY, 0, 0, &[0; 8])).await;
    assert_eq!(client.reaction(false).await, GoAway(NO_ERROR));
    drop(client);
    server.until_ended("client", 1.0).await;
    server.until_ended("invalid_request", 1.0).await;
}

#[tokio::test]
async fn invalid_http_is_counted_also_if_the_client_does_not_close() {
    let server = TestServer::start(&[]);
    let mut open = FrameClient::connect(server.address).await;
    open.send(&get(2)).await;
    assert_eq!(open.reaction(false).await, GoAway(PROTOCOL_ERROR));
    server.until_ended("invalid_request", 1.0).await;

    let server = TestServer::start(&[]);
    let mut open = RawClient::connect(server.address).await;
    open.send("nonsense\r\n\r\n").await;
    assert!(open.response().await.starts_with("HTTP/1.1 400 "));
    server.until_ended("invalid_request", 1.0).await;
}

/// As over HTTP/1.1: the name of the pod, the methods of a route, and no content for HEAD.
#[tokio::test]
async fn responses_have_the_headers_of_http_1_1() {
    let server = TestServer::start(&[]);
    let client = reqwest::Client::builder()
        .http2_prior_knowledge()
        .build()
        .unwrap();
    let send = |method: &str| client.request(method.parse().unwrap(), server.url("/ok")).send();
    let options = send("OPTIONS").await.unwrap();
    assert_eq!(options.headers()["x-served-by"], "pod-7");
    assert_eq!(options.headers()["allow"], "GET,HEAD,OPTIONS");
    let head = send("HEAD").await.unwrap();
    assert_eq!(head.headers()["content-length"], "2");
    assert_eq!(head.bytes().await.unwrap(), "");
}
