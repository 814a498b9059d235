//! A broken link of the chain.

use std::fmt;
use wiring::Link;

/// A broken link of the chain, and the reason.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BrokenLink {
    /// The link.
    pub link: Link,
    /// The contradiction, with both sides.
    pub reason: String,
}

impl BrokenLink {
    pub(super) fn new(link: Link, reason: impl Into<String>) -> Self {
        Self {
            link,
            reason: reason.into(),
        }
    }
}

impl fmt::Display for BrokenLink {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.link, self.reason)
    }
}
