//! The kinds of failed requests. Each kind tells the user where to look for the cause.

use std::{error::Error as StdError, fmt, io};

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kinds of failures that a report counts separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// A DNS lookup during the load failed.
    Dns,
    /// The connection could not be opened.
    Connect,
    /// The connection closed before the response was complete.
    Reset,
    /// The response was not complete within the timeout.
    Timeout,
    /// The status was not expected.
    Status,
    /// The body did not contain an expected text.
    Body,
    /// The response was not HTTP.
    Protocol,
    /// The request was not sent: the maximum number of requests was already in flight.
    Dropped,
    /// This machine ran out of ports or file descriptors. The run is invalid: it says nothing about the server.
    Generator,
}

impl FailureKind {
    /// All kinds, in the order of the report.
    pub const ALL: [Self; 9] = [
        Self::Dns,
        Self::Connect,
        Self::Reset,
        Self::Timeout,
        Self::Status,
        Self::Body,
        Self::Protocol,
        Self::Dropped,
        Self::Generator,
    ];

    /// Returns whether the request got a complete response, although not the expected one.
    #[must_use]
    pub fn has_response(self) -> bool {
        matches!(self, Self::Status | Self::Body)
    }

    /// Returns whether the request was sent and nothing came back, as when a server is gone.
    #[must_use]
    pub fn is_unanswered(self) -> bool {
        matches!(self, Self::Connect | Self::Reset | Self::Timeout)
    }

    /// Returns the name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Status => "status",
            Self::Body => "body",
            Self::Protocol => "protocol",
            Self::Dropped => "dropped",
            Self::Generator => "generator",
        }
    }
}

/// One failed request. A report shows the detail of the first failure of each kind.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) detail: String,
}

impl Failure {
    pub(crate) fn connect(error: &io::Error) -> Self {
        Self {
            kind: kind_or_generator(error, FailureKind::Connect),
            detail: error.to_string(),
        }
    }

    pub(crate) fn lookup(host: &str, error: &io::Error) -> Self {
        Self {
            kind: kind_or_generator(error, FailureKind::Dns),
            detail: format!("{host}: {error}"),
        }
    }

    pub(crate) fn exchange(error: &hyper::Error) -> Self {
        let kind = if error.is_parse() {
            FailureKind::Protocol
        } else {
            FailureKind::Reset
        };
        Self {
            kind,
            detail: error_chain(error),
        }
    }

    pub(crate) fn timeout() -> Self {
        Self {
            kind: FailureKind::Timeout,
            detail: "no complete response within the timeout".to_owned(),
        }
    }

    pub(crate) fn status(status: StatusCode) -> Self {
        Self {
            kind: FailureKind::Status,
            detail: format!("status {status}"),
        }
    }

    pub(crate) fn body(body: &[u8]) -> Self {
        const MAX_SHOWN_BYTES: usize = 80;
        let text = String::from_utf8_lossy(&body[..body.len().min(MAX_SHOWN_BYTES)]).into_owned();
        Self {
            kind: FailureKind::Body,
            detail: format!("the body starts with {text:?}"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.kind.name(), self.detail)
    }
}

/// Returns [`FailureKind::Generator`] when this machine caused the error, and `kind` otherwise.
fn kind_or_generator(error: &io::Error, kind: FailureKind) -> FailureKind {
    if is_exhaustion(error) {
        FailureKind::Generator
    } else {
        kind
    }
}

/// Returns whether the operating system ran out of ports or file descriptors.
fn is_exhaustion(error: &io::Error) -> bool {
    // EMFILE and ENFILE have no `io::ErrorKind`; the numbers are the same on Linux and macOS.
    const TOO_MANY_FILES: [i32; 2] = [24, 23];
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error
            .raw_os_error()
            .is_some_and(|number| TOO_MANY_FILES.contains(&number))
}

/// Formats an error with its causes: the text of a hyper error does not include them.
fn error_chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
