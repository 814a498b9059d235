//! The MUSTs of RFC 9113 for an origin server, over a raw socket. `http_rules` has those of HTTP/1.1.
//!
//! h2 implements the protocol. Where it deviates, the case says so, and expects what h2 does.

use super::frames::code::{FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, PROTOCOL_ERROR};
use super::frames::kind::{
    CONTINUATION, DATA, GOAWAY, HEADERS, PING, PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE,
};
use super::frames::{
    ACK, END, END_HEADERS, END_STREAM, FrameClient, PADDED, Reaction, block, fields, frame, get, pseudo,
    setting, wait, window_update, with,
};
use super::support::TestServer;
use Reaction::{Closed, GoAway, Nothing, Reset, Status};

/// One rule: the section that states it, what the client sends after the prefaces, and the reaction.
struct Case {
    section: &'static str,
    name: &'static str,
    bytes: Vec<u8>,
    expected: Reaction,
}

/// A table of cases, which rustfmt leaves as it is.
macro_rules! cases {
    ($($section:literal, $name:literal: $bytes:expr => $expected:expr;)*) => {
        vec![$(Case { section: $section, name: $name, bytes: $bytes, expected: $expected }),*]
    };
}

/// Sends each case on a new connection. After a reaction that concerns one stream, the connection must still work.
async fn expect(server: &TestServer, cases: Vec<Case>) {
    let mut faults = Vec::new();
    for case in cases {
        let mut client = FrameClient::connect(server.address).await;
        client.send(&case.bytes).await;
        let reaction = client.reaction(matches!(case.expected, Status(_))).await;
        if reaction != case.expected {
            faults.push(format!(
                "{} {}: {reaction:?}, expected {:?}",
                case.section, case.name, case.expected
            ));
            continue;
        }
        if !matches!(reaction, GoAway(_) | Closed) {
            client.send(&get(101)).await;
            let next = client
                .until("a response on stream 101", |frame| frame.stream == 101)
                .await;
            if next.kind != HEADERS {
                faults.push(format!("{} {}: then {next:?}", case.section, case.name));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// The head of `POST /size` on stream 1, whose body follows.
fn post(further: &[(&str, &str)]) -> Vec<u8> {
    let fields = [&pseudo("POST", "/size"), further].concat();
    frame(HEADERS, END_HEADERS, 1, &block(&fields))
}

#[tokio::test]
async fn frames_and_streams() {
    let request = block(&pseudo("GET", "/ok"));
    let cases = cases! {
        "4.1", "an unknown type of frame is ignored": frame(0x16, 0xff, 0, b"x") => Nothing;
        "4.1", "unknown flags are ignored": frame(HEADERS, END | 0xd2, 1, &request) => Status(200);
        "4.1", "the reserved bit is ignored": frame(HEADERS, END, 1 | 1 << 31, &request) => Status(200);
        "4.2", "DATA above SETTINGS_MAX_FRAME_SIZE":
            [post(&[]), frame(DATA, 0, 1, &[0; 16385])].concat() => GoAway(FRAME_SIZE_ERROR);
        "4.2", "HEADERS above SETTINGS_MAX_FRAME_SIZE":
            frame(HEADERS, END, 1, &[0; 16385]) => GoAway(FRAME_SIZE_ERROR);
        // RFC 9113 demands COMPRESSION_ERROR. h2 knows only PROTOCOL_ERROR here.
        "4.3", "an invalid index in the header block":
            frame(HEADERS, END, 1, &[0xff, 0xff, 0x7f]) => GoAway(PROTOCOL_ERROR);
        "5.1", "DATA on an idle stream": frame(DATA, 0, 1, b"x") => GoAway(PROTOCOL_ERROR);
        "5.1", "RST_STREAM on an idle stream": frame(RST_STREAM, 0, 1, &[0; 4]) => GoAway(PROTOCOL_ERROR);
        "5.1", "WINDOW_UPDATE on an idle stream": window_update(1, 1) => GoAway(PROTOCOL_ERROR);
        "5.1", "CONTINUATION on an idle stream":
            frame(CONTINUATION, END_HEADERS, 1, &request) => GoAway(PROTOCOL_ERROR);
        "5.1", "PRIORITY on an idle stream is allowed": frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 1]) => Nothing;
        // RFC 9113 demands an error of the stream, STREAM_CLOSED. h2 ends the connection.
        "5.1", "DATA after END_STREAM": [wait(1), frame(DATA, 0, 1, b"x")].concat() => GoAway(PROTOCOL_ERROR);
        "5.1", "HEADERS after END_STREAM": [wait(1), get(1)].concat() => GoAway(PROTOCOL_ERROR);
        "5.1", "HEADERS on a stream that the client reset":
            [wait(1), frame(RST_STREAM, 0, 1, &[0; 4]), get(1)].concat() => GoAway(PROTOCOL_ERROR);
        "5.1.1", "an even stream identifier": get(2) => GoAway(PROTOCOL_ERROR);
        "5.1.1", "a smaller stream identifier than before": [wait(5), get(3)].concat() => GoAway(PROTOCOL_ERROR);
        "5.5", "an unknown type of frame in a header block":
            [frame(HEADERS, END_STREAM, 1, &request), frame(0x16, 0, 1, b"")].concat() => GoAway(PROTOCOL_ERROR);
        "6.1", "DATA on stream 0": frame(DATA, 0, 0, b"x") => GoAway(PROTOCOL_ERROR);
        "6.1", "more padding than DATA":
            [post(&[]), frame(DATA, PADDED, 1, &[9, 0])].concat() => GoAway(PROTOCOL_ERROR);
        "6.1", "padding is no content":
            [post(&[("content-length", "1")]), frame(DATA, PADDED | END_STREAM, 1, &[2, b'x', 0, 0])].concat() => Status(200);
        "6.2", "HEADERS on stream 0": frame(HEADERS, END, 0, &request) => GoAway(PROTOCOL_ERROR);
        "6.2", "more padding than HEADERS": frame(HEADERS, END | PADDED, 1, &[9, 0]) => GoAway(PROTOCOL_ERROR);
        "6.3", "PRIORITY on stream 0": frame(PRIORITY, 0, 0, &[0, 0, 0, 3, 1]) => GoAway(PROTOCOL_ERROR);
        // RFC 9113 demands FRAME_SIZE_ERROR for a frame of a wrong length. h2 sends PROTOCOL_ERROR for all of them.
        "6.3", "PRIORITY of a wrong length":
            [wait(1), frame(PRIORITY, 0, 1, &[0; 4])].concat() => GoAway(PROTOCOL_ERROR);
        "6.4", "RST_STREAM of a wrong length":
            [wait(1), frame(RST_STREAM, 0, 1, &[0; 3])].concat() => GoAway(PROTOCOL_ERROR);
        "6.4", "RST_STREAM on stream 0": frame(RST_STREAM, 0, 0, &[0; 4]) => GoAway(PROTOCOL_ERROR);
        "6.6", "PUSH_PROMISE of a client":
            [wait(1), frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2], &request[..]].concat())].concat() => GoAway(PROTOCOL_ERROR);
        "6.7", "PING on a stream": frame(PING, 0, 1, &[0; 8]) => GoAway(PROTOCOL_ERROR);
        "6.7", "PING of a wrong length": frame(PING, 0, 0, &[0; 6]) => GoAway(PROTOCOL_ERROR);
        "6.7", "an acknowledgement of no PING is ignored": frame(PING, ACK, 0, &[0; 8]) => Nothing;
        "6.8", "GOAWAY on a stream": frame(GOAWAY, 0, 1, &[0; 8]) => GoAway(PROTOCOL_ERROR);
        "6.10", "CONTINUATION completes a header block":
            [frame(HEADERS, END_STREAM, 1, &request[..9]), frame(CONTINUATION, END_HEADERS, 1, &request[9..])].concat() => Status(200);
        "6.10", "another frame in a header block":
            [frame(HEADERS, END_STREAM, 1, &request), frame(PING, 0, 0, &[0; 8])].concat() => GoAway(PROTOCOL_ERROR);
        "6.10", "CONTINUATION of another stream":
            [frame(HEADERS, END_STREAM, 1, &request), frame(CONTINUATION, END_HEADERS, 3, b"")].concat() => GoAway(PROTOCOL_ERROR);
        "6.10", "CONTINUATION after END_HEADERS":
            [wait(1), frame(CONTINUATION, END_HEADERS, 1, b"")].concat() => GoAway(PROTOCOL_ERROR);
    };
    expect(&TestServer::start(&[]), cases).await;
}

#[tokio::test]
async fn settings_and_windows() {
    const ENABLE_PUSH: u16 = 2;
    const INITIAL_WINDOW_SIZE: u16 = 4;
    const MAX_FRAME_SIZE: u16 = 5;
    let settings = |flags, stream, payload: &[u8]| frame(SETTINGS, flags, stream, payload);
    let cases = cases! {
        "6.5", "SETTINGS on a stream": settings(0, 1, b"") => GoAway(PROTOCOL_ERROR);
        // RFC 9113 demands FRAME_SIZE_ERROR for the next two, and for WINDOW_UPDATE. h2 sends PROTOCOL_ERROR.
        "6.5", "an acknowledgement with settings": settings(ACK, 0, &setting(1, 0)) => GoAway(PROTOCOL_ERROR);
        "6.5", "SETTINGS of a wrong length": settings(0, 0, &[0; 5]) => GoAway(PROTOCOL_ERROR);
        "6.5.2", "SETTINGS_ENABLE_PUSH of 2": settings(0, 0, &setting(ENABLE_PUSH, 2)) => GoAway(PROTOCOL_ERROR);
        // RFC 9113 demands FLOW_CONTROL_ERROR. h2 sends PROTOCOL_ERROR.
        "6.5.2", "SETTINGS_INITIAL_WINDOW_SIZE of 2^31":
            settings(0, 0, &setting(INITIAL_WINDOW_SIZE, 1 << 31)) => GoAway(PROTOCOL_ERROR);
        "6.5.2", "SETTINGS_MAX_FRAME_SIZE of 16383":
            settings(0, 0, &setting(MAX_FRAME_SIZE, 16383)) => GoAway(PROTOCOL_ERROR);
        "6.5.2", "SETTINGS_MAX_FRAME_SIZE of 2^24":
            settings(0, 0, &setting(MAX_FRAME_SIZE, 1 << 24)) => GoAway(PROTOCOL_ERROR);
        "6.5.2", "an unknown setting is ignored": settings(0, 0, &setting(0xffff, 1)) => Nothing;
        "6.9", "WINDOW_UPDATE of a wrong length": frame(WINDOW_UPDATE, 0, 0, &[0; 3]) => GoAway(PROTOCOL_ERROR);
        "6.9", "an increment of 0 for the connection": window_update(0, 0) => GoAway(PROTOCOL_ERROR);
        // RFC 9113 demands an error of the stream. An error of the connection is allowed (5.4.2).
        "6.9", "an increment of 0 for a stream": [wait(1), window_update(1, 0)].concat() => GoAway(PROTOCOL_ERROR);
        "6.9.1", "a window of the connection above 2^31-1":
            window_update(0, 0x7fff_ffff) => GoAway(FLOW_CONTROL_ERROR);
        "6.9.1", "a window of a stream above 2^31-1":
            [wait(1), window_update(1, 0x7fff_ffff)].concat() => Reset(FLOW_CONTROL_ERROR);
        "6.9.2", "SETTINGS_INITIAL_WINDOW_SIZE makes a window too large":
            [wait(1), window_update(1, 0x7fff_0000), settings(0, 0, &setting(INITIAL_WINDOW_SIZE, 0x7fff_ffff))].concat() => GoAway(FLOW_CONTROL_ERROR);
    };
    expect(&TestServer::start(&[]), cases).await;
}

#[tokio::test]
async fn requests() {
    let server = TestServer::start(&["--max-body-bytes=1000"]);
    let without = |name: &str| {
        let mut all = pseudo("GET", "/ok");
        all.retain(|(field, _)| *field != name);
        fields(&all)
    };
    let data = |bytes: &[u8]| frame(DATA, END_STREAM, 1, bytes);
    let cases = cases! {
        "8.1", "a request with a body": [post(&[]), data(b"abc")].concat() => Status(200);
        "8.1", "trailers end the stream":
            [post(&[]), frame(HEADERS, END, 1, &block(&[("x", "1")]))].concat() => Status(200);
        "8.1", "a second HEADERS without END_STREAM":
            [post(&[]), frame(HEADERS, END_HEADERS, 1, &block(&[("x", "1")]))].concat() => Reset(PROTOCOL_ERROR);
        // RFC 9113 demands an error. h2 removes the field, and no handler reads trailers.
        "8.1", "a pseudo-header field in trailers":
            [post(&[]), frame(HEADERS, END, 1, &block(&[(":path", "/")]))].concat() => Status(200);
        "8.1.1", "less DATA than content-length":
            [post(&[("content-length", "4")]), data(b"abc")].concat() => Reset(PROTOCOL_ERROR);
        "8.1.1", "more DATA than content-length":
            [post(&[("content-length", "2")]), data(b"abc")].concat() => Reset(PROTOCOL_ERROR);
        "8.1.1", "content-length without DATA": with(&[("content-length", "1")]) => Reset(PROTOCOL_ERROR);
        "8.1.1", "two different content-lengths":
            [post(&[("content-length", "3"), ("content-length", "4")]), data(b"abc")].concat() => Reset(PROTOCOL_ERROR);
        "8.1.1", "a content-length that is no number":
            [post(&[("content-length", "x")]), data(b"abc")].concat() => Reset(PROTOCOL_ERROR);
        // RFC 9113 demands an error of the stream. An error of the connection is allowed (5.4.2).
        "8.2.1", "an uppercase name": with(&[("X-a", "1")]) => GoAway(PROTOCOL_ERROR);
        "8.2.1", "a space in a name": with(&[("x a", "1")]) => GoAway(PROTOCOL_ERROR);
        "8.2.1", "an empty name": with(&[("", "1")]) => GoAway(PROTOCOL_ERROR);
        "8.2.1", "a line feed in a value": with(&[("x", "1\n2")]) => GoAway(PROTOCOL_ERROR);
        "8.2.1", "a carriage return in a value": with(&[("x", "1\r2")]) => GoAway(PROTOCOL_ERROR);
        "8.2.1", "a zero byte in a value": with(&[("x", "1\x002")]) => GoAway(PROTOCOL_ERROR);
        "8.2.1", "a value that starts with a space": with(&[("x", " 1")]) => Status(400);
        "8.2.1", "a value that ends with a tab": with(&[("x", "1\t")]) => Status(400);
        "8.2.1", "an empty value is allowed": with(&[("x", "")]) => Status(200);
        "8.2.2", "connection": with(&[("connection", "close")]) => Reset(PROTOCOL_ERROR);
        "8.2.2", "keep-alive": with(&[("keep-alive", "timeout=5")]) => Reset(PROTOCOL_ERROR);
        "8.2.2", "proxy-connection": with(&[("proxy-connection", "close")]) => Reset(PROTOCOL_ERROR);
        "8.2.2", "transfer-encoding": with(&[("transfer-encoding", "chunked")]) => Reset(PROTOCOL_ERROR);
        "8.2.2", "upgrade": with(&[("upgrade", "websocket")]) => Reset(PROTOCOL_ERROR);
        "8.2.2", "te other than trailers": with(&[("te", "gzip")]) => Reset(PROTOCOL_ERROR);
        "8.2.2", "te: trailers is allowed": with(&[("te", "trailers")]) => Status(200);
        "8.3", "an unknown pseudo-header field": with_pseudo(":foo", "1") => GoAway(PROTOCOL_ERROR);
        "8.3", "a pseudo-header field of responses": with_pseudo(":status", "200") => Reset(PROTOCOL_ERROR);
        "8.3", "a pseudo-header field after another field":
            fields(&[(":method", "GET"), (":scheme", "http"), ("x", "1"), (":path", "/ok")]) => Reset(PROTOCOL_ERROR);
        "8.3.1", "no :method": without(":method") => Reset(PROTOCOL_ERROR);
        "8.3.1", "no :scheme": without(":scheme") => Reset(PROTOCOL_ERROR);
        "8.3.1", "no :path": without(":path") => Reset(PROTOCOL_ERROR);
        "8.3.1", "no :path and no :authority": fields(&[(":method", "GET"), (":scheme", "http")]) => Status(400);
        "8.3.1", "an empty :path": fields(&pseudo("GET", "")) => Reset(PROTOCOL_ERROR);
        "8.3.1", "a :path without a slash": fields(&pseudo("GET", "ok")) => Reset(PROTOCOL_ERROR);
        "8.3.1", "two :method": with_pseudo(":method", "GET") => Reset(PROTOCOL_ERROR);
        "8.3.1", "two :path": with_pseudo(":path", "/ok") => Reset(PROTOCOL_ERROR);
        "8.3.1", "two :authority": with_pseudo(":authority", "a") => Reset(PROTOCOL_ERROR);
        // As a request of HTTP/1.0 without Host, which a proxy translates.
        "8.3.1", "no :authority and no host": without(":authority") => Status(200);
        "8.3.1", "host instead of :authority":
            fields(&[&[("host", "a:80")][..], &[(":method", "GET")]].concat()) => Reset(PROTOCOL_ERROR);
        "8.3.1", "user information in :authority":
            fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "user@a"), (":path", "/ok")]) => Status(400);
        "8.3.1", "host equal to :authority": with(&[("host", "A")]) => Status(200);
        "8.3.1", "host different from :authority": with(&[("host", "b")]) => Status(400);
        "8.3.1", "an invalid host":
            fields(&[(":method", "GET"), (":scheme", "http"), (":path", "/ok"), ("host", "a/b")]) => Status(400);
        "8.3.1", "a valid host without :authority":
            fields(&[(":method", "GET"), (":scheme", "http"), (":path", "/ok"), ("host", "a:80")]) => Status(200);
        "8.3.1", "two hosts": with(&[("host", "a"), ("host", "a")]) => Status(400);
        "8.5", "CONNECT with :path": fields(&pseudo("CONNECT", "/ok")) => Reset(PROTOCOL_ERROR);
        "8.5", "CONNECT is not implemented":
            fields(&[(":method", "CONNECT"), (":authority", "a:80")]) => Status(404);
        "RFC 9110, 9.1", "an unknown method": fields(&pseudo("BREW", "/ok")) => Status(405);
        "RFC 9110, 9.3.7", "OPTIONS for a route": fields(&pseudo("OPTIONS", "/ok")) => Status(200);
        "RFC 9110, 9.3.7", "OPTIONS for the server": fields(&pseudo("OPTIONS", "*")) => Status(200);
        "RFC 9110, 15.5.14", "a body that is too large":
            [post(&[("content-length", "1001")]), data(&[0; 1001])].concat() => Status(413);
        "10.5.1", "a head of more than 64 KiB": large_head() => Status(431);
    };
    expect(&server, cases).await;
}

/// `GET /ok` with a further pseudo-header field.
fn with_pseudo(name: &str, value: &str) -> Vec<u8> {
    with(&[(name, value)])
}

/// A head of 70 KB: more than the largest one, in frames of at most 16 KiB.
fn large_head() -> Vec<u8> {
    let block = block(&[&pseudo("GET", "/ok")[..], &[("x", &"x".repeat(70_000))]].concat());
    let mut parts = block.chunks(16_000).peekable();
    let mut bytes = frame(HEADERS, END_STREAM, 1, parts.next().unwrap());
    while let Some(part) = parts.next() {
        let flags = if parts.peek().is_none() { END_HEADERS } else { 0 };
        bytes.extend(frame(CONTINUATION, flags, 1, part));
    }
    bytes
}
