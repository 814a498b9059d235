//! The activity of one connection, shared by its stream, its service and its clock.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use axum::http::Version;

/// The activity of one connection. Mostly one task uses it, so relaxed atomics are enough.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Requests in flight.
    active: AtomicU32,
    /// Requests since the connection was accepted.
    requests: AtomicU64,
    /// Whether bytes have arrived since a request last started or completed: the client is sending a head.
    bytes_arrived: AtomicBool,
    /// Whether the TLS handshake has not completed.
    handshaking: AtomicBool,
    is_http2: AtomicBool,
    /// Whether the next HTTP/1.1 response must carry `connection: close`.
    closing: AtomicBool,
    /// Whether the server has closed its side.
    lingering: AtomicBool,
    /// Whether the server has stopped waiting for the client to close its side.
    linger_is_over: AtomicBool,
    /// Whether a response waits for the client to read.
    write_blocked: AtomicBool,
}

impl Activity {
    /// The activity of a connection that starts with a TLS handshake.
    pub(super) fn handshaking() -> Self {
        Self {
            handshaking: AtomicBool::new(true),
            ..Self::default()
        }
    }

    pub(super) fn handshake_completed(&self) {
        self.handshaking.store(false, Relaxed);
    }

    pub(super) fn bytes_arrived(&self) {
        self.bytes_arrived.store(true, Relaxed);
    }

    pub(super) fn linger(&self) {
        self.lingering.store(true, Relaxed);
    }

    pub(super) fn is_lingering(&self) -> bool {
        self.lingering.load(Relaxed)
    }

    pub(super) fn end_linger(&self) {
        self.linger_is_over.store(true, Relaxed);
    }

    pub(super) fn linger_is_over(&self) -> bool {
        self.linger_is_over.load(Relaxed)
    }

    pub(super) fn set_write_blocked(&self, blocked: bool) {
        self.write_blocked.store(blocked, Relaxed);
    }

    pub(super) fn close(&self) {
        self.closing.store(true, Relaxed);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Relaxed)
    }

    pub(super) fn is_http2(&self) -> bool {
        self.is_http2.load(Relaxed)
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    pub(super) fn request_started(&self, version: Version) {
        self.active.fetch_add(1, Relaxed);
        self.requests.fetch_add(1, Relaxed);
        self.bytes_arrived.store(false, Relaxed);
        if version == Version::HTTP_2 {
            self.is_http2.store(true, Relaxed);
        }
    }

    pub(super) fn request_completed(&self) {
        self.bytes_arrived.store(false, Relaxed);
        self.active.fetch_sub(1, Relaxed);
    }

    pub(super) fn phase(&self) -> Phase {
        if self.is_lingering() {
            Phase::Lingering
        } else if self.write_blocked.load(Relaxed) {
            Phase::Writing
        } else if self.active.load(Relaxed) > 0 {
            Phase::Busy
        } else if self.requests() == 0 {
            if self.handshaking.load(Relaxed) {
                Phase::Handshake
            } else {
                Phase::ReadingHead
            }
        } else if self.bytes_arrived.load(Relaxed) && !self.is_http2() {
            Phase::ReadingHead
        } else {
            Phase::Idle
        }
    }
}

/// The phase of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The client has connected, and the TLS handshake has not completed.
    Handshake,
    /// The connection is open, or the client has sent a part of a head.
    ReadingHead,
    /// A request is in flight.
    Busy,
    /// A response waits for the client to read.
    Writing,
    /// Between two requests.
    Idle,
    /// The server has closed its side and waits for the client to do the same.
    Lingering,
}
