//! Counts of requests.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Counts of requests by result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Arrivals that were due: sent or dropped.
    pub scheduled: u64,
    /// Requests that the generator started to send.
    pub sent: u64,
    /// Requests with the expected response.
    pub succeeded: u64,
    /// Requests that failed for any reason, including dropped arrivals.
    pub failed: u64,
    /// Arrivals that were not sent, because too many requests were in flight.
    pub dropped: u64,
    /// Requests sent a second time, because the first connection closed before it wrote a byte of the request.
    pub retries: u64,
}

impl Counts {
    /// Returns the number of requests in flight.
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
