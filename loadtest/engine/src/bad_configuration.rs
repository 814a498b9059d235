//! The error for an invalid command line or environment.

/// An invalid command line or environment, found before any request is sent.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadConfiguration(pub String);

impl BadConfiguration {
    /// The exit code of a process that fails with this error.
    pub const EXIT_CODE: u8 = 104;

    /// Creates the error from a message or from another error.
    pub fn new(message: impl std::fmt::Display) -> Self {
        Self(message.to_string())
    }
}
