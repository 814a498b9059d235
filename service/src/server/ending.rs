//! Why a connection ended.

/// Why a connection ended, the value of the label `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The client closed the connection.
    Client,
    /// The connection broke.
    Error,
    /// The client did not send valid HTTP. It got 400, 431 or GOAWAY.
    InvalidRequest,
    /// The TLS handshake failed.
    HandshakeFailed,
    /// The TLS handshake did not complete within the header read timeout.
    HandshakeTimeout,
    /// The client did not send a head within the header read timeout.
    HeaderTimeout,
    /// The connection was idle for the keep-alive timeout.
    IdleTimeout,
    /// The client did not read a response for the keep-alive timeout.
    WriteTimeout,
    /// The connection reached its maximum age.
    MaxAge,
    /// The process is shutting down, and no request was in flight.
    Shutdown,
    /// A request was in flight at the drain deadline.
    Aborted,
}

impl Ending {
    /// All endings.
    pub(crate) const ALL: [Self; 11] = [
        Self::Client,
        Self::Error,
        Self::InvalidRequest,
        Self::HandshakeFailed,
        Self::HandshakeTimeout,
        Self::HeaderTimeout,
        Self::IdleTimeout,
        Self::WriteTimeout,
        Self::MaxAge,
        Self::Shutdown,
        Self::Aborted,
    ];

    /// Returns the value of the label.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Error => "error",
            Self::InvalidRequest => "invalid_request",
            Self::HandshakeFailed => "handshake_failed",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::HeaderTimeout => "header_timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::WriteTimeout => "write_timeout",
            Self::MaxAge => "max_age",
            Self::Shutdown => "shutdown",
            Self::Aborted => "aborted",
        }
    }
}
