//! Counts of requests.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Counts of requests by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Arrivals that came due: sent or dropped.
    pub scheduled: u64,
    /// Requests taken up for sending.
    pub sent: u64,
    /// Requests answered as expected.
    pub succeeded: u64,
    /// Requests that failed in any way, drops included.
    pub failed: u64,
    /// Arrivals never sent, because too many were in flight.
    pub dropped: u64,
    /// Requests sent a second time, because the first connection closed before a byte of it was written.
    pub retries: u64,
}

impl Counts {
    /// Requests sent and not ended yet.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        (self.sent + self.dropped).saturating_sub(self.succeeded + self.failed)
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.scheduled += other.scheduled;
        self.sent += other.sent;
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.dropped += other.dropped;
        self.retries += other.retries;
    }
}
