//! Why a request failed, in the few kinds that tell a user where to look.

use std::{error::Error as StdError, fmt, io};

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kinds of failures that a report counts apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The name could not be looked up again.
    Dns,
    /// No connection could be opened.
    Connect,
    /// The connection ended before the whole answer was there.
    Reset,
    /// Nothing, or not everything, came within the timeout.
    Timeout,
    /// The status was not one of those expected.
    Status,
    /// The body was not the one expected.
    Body,
    /// What came was not HTTP.
    Protocol,
    /// Never sent: as many requests as allowed were in flight already.
    Dropped,
    /// This machine ran out of ports or file descriptors. Says nothing about the server, and makes a run invalid.
    Generator,
}

impl FailureKind {
    /// All kinds, in the order of a report.
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

    /// The name in reports.
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

/// One failed request: its kind, and a text for the first of the kind to be shown.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) detail: String,
}

impl Failure {
    pub(crate) fn connect(error: &io::Error) -> Self {
        Self {
            kind: blamed(error, FailureKind::Connect),
            detail: error.to_string(),
        }
    }

    pub(crate) fn lookup(host: &str, error: &io::Error) -> Self {
        Self {
            kind: blamed(error, FailureKind::Dns),
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
            detail: chain(error),
        }
    }

    pub(crate) fn timeout() -> Self {
        Self {
            kind: FailureKind::Timeout,
            detail: "no whole answer within the timeout".to_owned(),
        }
    }

    pub(crate) fn status(status: StatusCode) -> Self {
        Self {
            kind: FailureKind::Status,
            detail: format!("status {status}"),
        }
    }

    pub(crate) fn body(beginning: &[u8]) -> Self {
        const SHOWN: usize = 80;
        let text = String::from_utf8_lossy(&beginning[..beginning.len().min(SHOWN)]).into_owned();
        Self {
            kind: FailureKind::Body,
            detail: format!("the body begins {text:?}"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.kind.name(), self.detail)
    }
}

/// The kind of an error: `kind`, unless it is this machine's fault.
fn blamed(error: &io::Error, kind: FailureKind) -> FailureKind {
    if is_exhaustion(error) {
        FailureKind::Generator
    } else {
        kind
    }
}

/// Whether the operating system refused a connection for want of ports or descriptors.
fn is_exhaustion(error: &io::Error) -> bool {
    // EMFILE and ENFILE have no `io::ErrorKind`; the numbers are the same on Linux and macOS.
    const TOO_MANY_FILES: [i32; 2] = [24, 23];
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error
            .raw_os_error()
            .is_some_and(|number| TOO_MANY_FILES.contains(&number))
}

/// An error with its causes, which hyper keeps out of its own text.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
