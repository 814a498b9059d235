//! The TLS listener: its protocols, handshakes that fail or stall, and the limits and the shutdown of its connections.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use hyper::Version;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::mount::Mount;
use super::support::{RawClient, TEST_TIMEOUT, TestServer, until};
use super::tls_client::{Authority, Client, Connection, FUTURE, NAME, Reply};

/// A server with TLS, and the authority that clients trust.
struct TlsServer {
    server: TestServer,
    authority: Authority,
    _files: Mount,
}

impl TlsServer {
    async fn start(flags: &[&str]) -> Self {
        let authority = Authority::new();
        let files = Mount::new(&authority.issue(FUTURE).files());
        Self {
            server: start(&files, flags).await,
            authority,
            _files: files,
        }
    }

    fn address(&self) -> SocketAddr {
        self.server.tls.unwrap()
    }

    /// Expects that a new client gets a response.
    async fn expect_service(&self) {
        let client = self.authority.client();
        let reply = timeout(TEST_TIMEOUT, get(&client, self.address()));
        assert_eq!(reply.await.expect("a response").unwrap(), ok(Version::HTTP_2));
    }

    /// Opens a connection for HTTP/1.1.
    async fn connect(&self) -> RawClient<TlsStream<TcpStream>> {
        let client = Client::trusting(&[&self.authority], &[&TLS13], &[b"http/1.1"]);
        RawClient(client.connect(self.address()).await.unwrap())
    }
}

/// Starts a server with the certificate of a mount.
pub(crate) async fn start(files: &Mount, flags: &[&str]) -> TestServer {
    let certificate = format!("--tls-cert-file={}", files.file("tls.crt").display());
    let key = format!("--tls-key-file={}", files.file("tls.key").display());
    TestServer::start_with_tls(&[&[&*certificate, &*key], flags].concat()).await
}

/// Requests `/ok` on a new connection.
pub(crate) async fn get(client: &Client, address: SocketAddr) -> io::Result<Reply> {
    let mut connection = client.open(address).await?;
    connection.send("GET", "/ok").await.map_err(io::Error::other)
}

/// The response of `/ok`.
pub(crate) fn ok(version: Version) -> Reply {
    Reply {
        version,
        status: 200,
        body: "ok".to_owned(),
    }
}

#[tokio::test]
async fn alpn_selects_the_protocol_with_each_version_of_tls() {
    let tls = TlsServer::start(&[]).await;
    for version in [&TLS12, &TLS13] {
        for (alpn, protocol) in [
            (&[&b"h2"[..], b"http/1.1"][..], Version::HTTP_2),
            (&[b"http/1.1"], Version::HTTP_11),
            (&[], Version::HTTP_11),
        ] {
            let client = Client::trusting(&[&tls.authority], &[version], alpn);
            assert_eq!(get(&client, tls.address()).await.unwrap(), ok(protocol));
        }
    }
    for version in ["1.2", "1.3"] {
        let series = format!(r#"tls_handshakes_completed_total{{version="{version}"}}"#);
        assert_eq!(tls.server.metric(&series), Some(3.0), "{version}");
    }
}

#[tokio::test]
async fn a_stalled_handshake_is_closed_after_the_header_read_timeout_while_others_are_served() {
    let tls = TlsServer::start(&["--header-read-timeout=500ms"]).await;
    let mut stalled = Vec::new();
    for sent in [&[][..], &client_hello(3)[..20]] {
        let mut stream = TcpStream::connect(tls.address()).await.unwrap();
        stream.write_all(sent).await.unwrap();
        stalled.push(RawClient(stream));
    }
    let started = Instant::now();
    tls.expect_service().await;
    for client in &mut stalled {
        client.closed().await;
    }
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    tls.server.until_ended("handshake_timeout", 2.0).await;
}

#[tokio::test]
async fn bytes_that_trickle_do_not_prolong_a_handshake() {
    let tls = TlsServer::start(&["--header-read-timeout=500ms", "--max-connections=1"]).await;
    let mut slow = TcpStream::connect(tls.address()).await.unwrap();
    let started = Instant::now();
    // The whole takes almost 4 s.
    let trickle = async {
        for byte in client_hello(3) {
            if slow.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::join!(trickle, tls.server.until_ended("handshake_timeout", 1.0));
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    tls.expect_service().await;
}

#[tokio::test]
async fn a_client_that_stalls_after_the_response_of_the_handshake_is_disconnected() {
    let tls = TlsServer::start(&["--header-read-timeout=500ms", "--max-connections=1"]).await;
    let mut stalled = TcpStream::connect(tls.address()).await.unwrap();
    stalled.write_all(&client_hello(3)).await.unwrap();
    assert_eq!(stalled.read_u8().await.unwrap(), 0x16);
    tls.server.until_ended("handshake_timeout", 1.0).await;
    tls.expect_service().await;
}

#[tokio::test]
async fn the_head_after_the_handshake_has_the_header_read_timeout_too() {
    let tls = TlsServer::start(&["--header-read-timeout=500ms"]).await;
    let mut client = tls.connect().await;
    client.send("GET /ok HT").await;
    client.closed().await;
    tls.server.until_ended("header_timeout", 1.0).await;
}

#[tokio::test]
async fn a_client_that_expects_another_name_refuses_the_certificate_and_the_others_are_served() {
    let tls = TlsServer::start(&[]).await;
    let client = tls.authority.client();
    let stream = TcpStream::connect(tls.address()).await.unwrap();
    let error = client.handshake("other.test", stream).await.unwrap_err();
    assert!(error.to_string().contains("not valid for name"), "{error}");
    tls.server.until_ended("handshake_failed", 1.0).await;
    // A client that sends no name gets the same certificate.
    let mut nameless = client;
    nameless.0.enable_sni = false;
    assert_eq!(get(&nameless, tls.address()).await.unwrap(), ok(Version::HTTP_2));
}

/// Returns a `ClientHello` for at most this minor version: 1 is TLS 1.0, 2 is TLS 1.1, 3 is TLS 1.2 (RFC 5246, 7.4.1.2).
fn client_hello(minor: u8) -> Vec<u8> {
    // ECDHE-ECDSA-AES128-SHA of TLS 1.0, and ECDHE-ECDSA-AES128-GCM-SHA256 of TLS 1.2.
    let suites = [0xc0, 0x09, 0xc0, 0x2b];
    let extensions = [
        [0, 10, 0, 4, 0, 2, 0, 23].as_slice(), // supported_groups: secp256r1
        &[0, 11, 0, 2, 1, 0],                  // ec_point_formats: uncompressed
        &[0, 13, 0, 4, 0, 2, 4, 3],            // signature_algorithms: ecdsa_secp256r1_sha256
    ]
    .concat();
    let random = [7; 32];
    // No session, and no compression.
    let parts = [
        &[3, minor],
        &random[..],
        &[0, 0, 4],
        &suites,
        &[1, 0, 0, 22],
        &extensions,
    ];
    let hello = parts.concat();
    let length = u8::try_from(hello.len()).unwrap();
    [&[0x16, 3, 1, 0, length + 4, 1, 0, 0, length], &hello[..]].concat()
}

#[tokio::test]
async fn tls_1_0_and_1_1_are_refused() {
    let tls = TlsServer::start(&["--max-connections=1"]).await;
    let hello = async |minor| {
        let mut client = TcpStream::connect(tls.address()).await.unwrap();
        client.write_all(&client_hello(minor)).await.unwrap();
        RawClient(client)
    };
    for minor in [1, 2] {
        let answer = hello(minor).await.read_to_end().await;
        // A fatal alert: protocol_version (RFC 8446, 6).
        assert_eq!(
            (answer[0], &answer[3..]),
            (0x15, &[0, 2, 2, 70][..]),
            "{answer:?}"
        );
    }
    tls.server.until_ended("handshake_failed", 2.0).await;
    // The same with TLS 1.2 is answered with a handshake record.
    assert_eq!(hello(3).await.0.read_u8().await.unwrap(), 0x16);
    tls.expect_service().await;
}

#[tokio::test]
async fn a_client_without_tls_is_told_what_is_wrong() {
    let tls = TlsServer::start(&["--max-connections=1"]).await;
    let mut client = RawClient::connect(tls.address()).await;
    client.send("GET /ok HTTP/1.1\r\nhost: test\r\n\r\n").await;
    let response = String::from_utf8(client.read_to_end().await).unwrap();
    assert!(
        response.starts_with("HTTP/1.1 400 ") && response.contains("use https"),
        "{response}"
    );
    tls.server.until_ended("handshake_failed", 1.0).await;
    tls.expect_service().await;
}

#[tokio::test]
async fn a_client_that_leaves_during_the_handshake_is_no_failure() {
    let tls = TlsServer::start(&[]).await;
    let part = &client_hello(3)[..20];
    let cases = [(&[][..], false), (part, false), (&[], true), (part, true)];
    for ((sent, resets), ended) in cases.into_iter().zip(1..) {
        let mut stream = TcpStream::connect(tls.address()).await.unwrap();
        stream.write_all(sent).await.unwrap();
        if resets {
            stream.set_zero_linger().unwrap();
        }
        drop(stream);
        tls.server.until_ended("client", f64::from(ended)).await;
    }
}

#[tokio::test]
async fn both_listeners_share_the_connection_limit() {
    let tls = TlsServer::start(&["--max-connections=1"]).await;
    let client = tls.authority.client();
    let mut plain = RawClient::connect(tls.server.address).await;
    plain.get("/ok").await;
    let mut waiting = tokio::spawn(async move { client.open(tls.server.tls.unwrap()).await });
    let early = timeout(Duration::from_millis(300), &mut waiting).await;
    assert!(early.is_err(), "a second connection is open");
    drop(plain);
    let mut connection = waiting.await.unwrap().unwrap();
    assert_eq!(connection.send("GET", "/ok").await.unwrap(), ok(Version::HTTP_2));

    let mut plain = RawClient::connect(tls.server.address).await;
    plain.send("GET /ok HTTP/1.1\r\nhost: test\r\n\r\n").await;
    drop(connection);
    assert!(plain.response().await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn an_idle_connection_ends_with_the_alert_of_tls() {
    let tls = TlsServer::start(&["--keep-alive-timeout=300ms"]).await;
    let mut client = tls.connect().await;
    client.get("/ok").await;
    // Without the alert, this would be an error.
    client.closed().await;
    tls.server.until_ended("idle_timeout", 1.0).await;
}

#[tokio::test]
async fn a_connection_has_a_maximum_age() {
    let tls = TlsServer::start(&["--max-connection-age=100ms"]).await;
    let mut client = tls.connect().await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    let response = client.get("/ok").await;
    assert!(response.contains("connection: close"), "{response}");
    client.closed().await;
    tls.server.until_ended("max_age", 1.0).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected() {
    let tls = TlsServer::start(&["--keep-alive-timeout=500ms"]).await;
    let mut client = tls.connect().await;
    client.send("GET /large HTTP/1.1\r\nhost: test\r\n\r\n").await;
    tls.server.until_ended("write_timeout", 1.0).await;
}

#[tokio::test]
async fn a_client_that_reads_none_of_many_small_responses_is_disconnected() {
    let tls = TlsServer::start(&["--keep-alive-timeout=500ms"]).await;
    let mut client = tls.connect().await;
    // More responses than the buffers of two sockets hold.
    let requests = "GET /ok HTTP/1.1\r\nhost: test\r\n\r\n".repeat(100_000);
    let (_, ()) = tokio::join!(
        client.try_send(&requests),
        tls.server.until_ended("write_timeout", 1.0)
    );
}

#[tokio::test]
async fn a_connection_whose_request_is_aborted_ends_without_the_alert() {
    let mut tls = TlsServer::start(&["--drain-delay=0s", "--drain-deadline=100ms"]).await;
    let mut held = tls.connect().await;
    held.send("GET /wait HTTP/1.1\r\nhost: test\r\n\r\n").await;
    tls.server.until_in_flight(1).await;
    tls.server.shut_down();
    // The client must not take it for the end of a response.
    let end = held.0.read_to_end(&mut Vec::new()).await;
    assert_eq!(end.unwrap_err().kind(), ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_shutdown_completes_requests_and_does_not_wait_for_handshakes_and_idle_connections() {
    let mut tls = TlsServer::start(&["--drain-delay=0s", "--drain-deadline=10s"]).await;
    let _stalled = RawClient::connect(tls.address()).await;
    let mut idle = tls.connect().await;
    idle.get("/ok").await;
    let mut held = tls.connect().await;
    held.send("GET /wait HTTP/1.1\r\nhost: test\r\n\r\n").await;
    tls.server.until_in_flight(1).await;
    let started = Instant::now();
    tls.server.shut_down();
    idle.closed().await;
    // The idle connection and the handshake.
    tls.server.until_ended("shutdown", 2.0).await;
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    assert!(!tls.server.has_stopped(), "stopped while a request was in flight");
    tls.server.gate.add_permits(1);
    let response = held.response().await;
    assert!(response.ends_with("waited"), "{response}");
    assert!(response.contains("connection: close"), "{response}");
    until("the server has stopped", || tls.server.has_stopped()).await;
    tls.server.stopped().await.expect("no request was aborted");
}

#[tokio::test]
async fn a_client_that_waits_when_draining_starts_is_served() {
    // The first connection takes the only permit, so the other one waits in the backlog.
    let mut tls = TlsServer::start(&["--drain-delay=0s", "--max-connections=1"]).await;
    let mut held = tls.connect().await;
    held.send("GET /wait HTTP/1.1\r\nhost: test\r\n\r\n").await;
    tls.server.until_in_flight(1).await;
    let waiting = TcpStream::connect(tls.address()).await.unwrap();
    tls.server.shut_down();
    let stream = tls.authority.client().handshake(NAME, waiting).await.unwrap();
    let reply = Connection::on(stream).await.send("GET", "/ok").await;
    assert_eq!(reply.unwrap(), ok(Version::HTTP_2));
    tls.server.gate.add_permits(1);
    assert!(held.response().await.ends_with("waited"));
    tls.server.stopped().await.expect("no request was aborted");
}
