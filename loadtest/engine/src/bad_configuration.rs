//! The error for a wrong command or environment.

/// A mistake that is found before any load is sent.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadConfiguration(pub String);

impl BadConfiguration {
    /// The exit code of a process that ends with this error.
    pub const EXIT_CODE: u8 = 104;

    /// From anything that says what is wrong.
    pub fn new(what: impl std::fmt::Display) -> Self {
        Self(what.to_string())
    }
}
