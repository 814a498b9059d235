//! A client that sends and reads raw HTTP/2 frames (RFC 9113), valid or not.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::support::TEST_TIMEOUT;
use kind::{HEADERS, WINDOW_UPDATE};

/// The connection preface of a client, without its SETTINGS (RFC 9113, 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The types of frames (RFC 9113, 6).
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const PRIORITY: u8 = 2;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PUSH_PROMISE: u8 = 5;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}

pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
/// A whole request without a body.
pub(crate) const END: u8 = END_STREAM | END_HEADERS;

/// Encodes a frame. The length is that of the payload.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Encodes fields as literals that are not indexed (RFC 7541, 6.2.2).
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.extend(length(text.len()));
            block.extend(text.as_bytes());
        }
    }
    block
}

/// Encodes the length of a string, without Huffman coding (RFC 7541, 5.1 and 5.2).
fn length(mut length: usize) -> Vec<u8> {
    let byte = |value: usize| u8::try_from(value).unwrap();
    if length < 127 {
        return vec![byte(length)];
    }
    length -= 127;
    let mut bytes = vec![127];
    while length >= 128 {
        bytes.push(byte(length % 128 + 128));
        length /= 128;
    }
    bytes.push(byte(length));
    bytes
}

/// The error codes (RFC 9113, 7).
pub(crate) mod code {
    pub(crate) const NO_ERROR: u32 = 0;
    pub(crate) const PROTOCOL_ERROR: u32 = 1;
    pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
    pub(crate) const FRAME_SIZE_ERROR: u32 = 6;
    pub(crate) const REFUSED_STREAM: u32 = 7;
    pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;
}

/// The pseudo-header fields of a request.
pub(crate) fn pseudo<'a>(method: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        (":method", method),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", path),
    ]
}

/// `GET /ok` on a stream.
pub(crate) fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END, stream, &block(&pseudo("GET", "/ok")))
}

/// `GET /wait` on a stream, which the server answers when the test releases it.
pub(crate) fn wait(stream: u32) -> Vec<u8> {
    frame(HEADERS, END, stream, &block(&pseudo("GET", "/wait")))
}

/// A setting, for the payload of SETTINGS.
pub(crate) fn setting(identifier: u16, value: u32) -> Vec<u8> {
    [&identifier.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

pub(crate) fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

/// A request without a body on stream 1, with these fields only.
pub(crate) fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END, 1, &block(fields))
}

/// `GET /ok` on stream 1, with further fields.
pub(crate) fn with(further: &[(&str, &str)]) -> Vec<u8> {
    fields(&[&pseudo("GET", "/ok"), further].concat())
}

/// A frame from the server.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    fn number(&self, offset: usize) -> u32 {
        u32::from_be_bytes(self.payload[offset..offset + 4].try_into().unwrap())
    }

    /// Returns the settings of a SETTINGS frame.
    pub(crate) fn settings(&self) -> Vec<(u16, u32)> {
        let setting = |bytes: &[u8]| {
            (
                u16::from_be_bytes([bytes[0], bytes[1]]),
                u32::from_be_bytes(bytes[2..6].try_into().unwrap()),
            )
        };
        self.payload.chunks(6).map(setting).collect()
    }

    /// Returns the status of a response, which is its first field. The name is in the static table.
    fn status(&self) -> u16 {
        // RFC 7541, appendix A.
        const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
        match self.payload[0] {
            index @ 0x88..=0x8e => INDEXED[usize::from(index - 0x88)],
            // A new value for the name at index 8, in Huffman code.
            0x48 if self.payload[1] & 0x80 != 0 => {
                let length = usize::from(self.payload[1] & 0x7f);
                digits(&self.payload[2..2 + length])
            }
            _ => panic!("not a status: {:?}", self.payload),
        }
    }
}

/// Decodes three digits in Huffman code (RFC 7541, appendix B): 0 to 2 take five bits, 3 to 9 six.
fn digits(bytes: &[u8]) -> u16 {
    let bits: Vec<u16> = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| u16::from(byte >> bit & 1)))
        .collect();
    let number = |range: std::ops::Range<usize>| bits[range].iter().fold(0, |sum, bit| sum * 2 + bit);
    let (mut at, mut value) = (0, 0);
    for _ in 0..3 {
        let short = number(at..at + 5);
        let digit = if short < 3 {
            short
        } else {
            number(at..at + 6) - 0x19 + 3
        };
        at += if short < 3 { 5 } else { 6 };
        value = value * 10 + digit;
    }
    value
}

/// What the server did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// It responded with this status.
    Status(u16),
    /// It reset the stream with this error code.
    Reset(u32),
    /// It sent GOAWAY with this error code, and closed the connection.
    GoAway(u32),
    /// It closed the connection without GOAWAY.
    Closed,
    /// It did nothing, and the connection works.
    Nothing,
}

/// A client of one connection.
pub(crate) struct FrameClient {
    stream: TcpStream,
    /// The settings of the server.
    pub(crate) settings: Vec<(u16, u32)>,
}

impl FrameClient {
    /// Connects and exchanges the prefaces. `settings` is the payload of the client's SETTINGS.
    pub(crate) async fn connect_with(address: SocketAddr, settings: &[u8]) -> Self {
        let mut client = Self::open(address).await;
        client.send(PREFACE).await;
        client.send(&frame(kind::SETTINGS, 0, 0, settings)).await;
        let first = client.next().await.expect("SETTINGS");
        assert_eq!(
            (first.kind, first.flags, first.stream),
            (kind::SETTINGS, 0, 0),
            "{first:?}"
        );
        client.settings = first.settings();
        client.send(&frame(kind::SETTINGS, ACK, 0, b"")).await;
        client
            .until("an acknowledgement of SETTINGS", |frame| {
                frame.kind == kind::SETTINGS && frame.flags == ACK && frame.payload.is_empty()
            })
            .await;
        client
    }

    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, b"").await
    }

    /// Connects and sends nothing.
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self {
            stream: TcpStream::connect(address).await.unwrap(),
            settings: Vec::new(),
        }
    }

    /// Sends bytes. A server that has closed the connection reacts in its answer.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.ok();
    }

    /// Returns the next frame. `None` at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let read = async {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            self.stream.read_exact(&mut payload).await.ok()?;
            Some(Frame {
                kind: head[3],
                flags: head[4],
                stream: u32::from_be_bytes(head[5..].try_into().unwrap()),
                payload,
            })
        };
        timeout(TEST_TIMEOUT, read)
            .await
            .expect("a frame, or the end of the connection")
    }

    /// Waits for a frame. `what` describes it.
    pub(crate) async fn until(&mut self, what: &str, is_it: impl Fn(&Frame) -> bool) -> Frame {
        loop {
            let frame = self
                .next()
                .await
                .unwrap_or_else(|| panic!("closed instead of {what}"));
            if is_it(&frame) {
                return frame;
            }
        }
    }

    /// Returns the first reaction of the server. `Nothing` after two acknowledged PINGs, unless `waits` for a response.
    pub(crate) async fn reaction(&mut self, waits: bool) -> Reaction {
        // The acknowledgement of one PING may precede what the server sends because of an earlier frame.
        let mut pings = 2;
        let ping = frame(kind::PING, 0, 0, b"reaction");
        self.send(&ping).await;
        loop {
            let Some(frame) = self.next().await else {
                return Reaction::Closed;
            };
            match frame.kind {
                HEADERS => return Reaction::Status(frame.status()),
                // NO_ERROR asks the client to stop sending a body that the response does not need (RFC 9113, 8.1).
                kind::RST_STREAM if frame.number(0) != code::NO_ERROR => {
                    return Reaction::Reset(frame.number(0));
                }
                kind::GOAWAY => {
                    let code = frame.number(4);
                    while self.next().await.is_some() {}
                    return Reaction::GoAway(code);
                }
                kind::PING if frame.flags == ACK && frame.payload == b"reaction" => {
                    pings -= 1;
                    if pings == 0 && !waits {
                        return Reaction::Nothing;
                    }
                    if pings == 1 {
                        self.send(&ping).await;
                    }
                }
                _ => {}
            }
        }
    }
}
