//! A part of a schedule.

use std::time::Duration;

/// A stretch of time over which the rate goes in a straight line from one value to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Segment {
    /// How long it is.
    pub length: Duration,
    /// Requests a second at its start.
    pub from: f64,
    /// Requests a second at its end.
    pub to: f64,
}

impl Segment {
    /// One over which the rate stays the same.
    #[must_use]
    pub fn constant(length: Duration, rate: f64) -> Self {
        Self {
            length,
            from: rate,
            to: rate,
        }
    }

    /// Arrivals from its start until `seconds` into it.
    pub(crate) fn count(&self, seconds: f64) -> f64 {
        self.from * seconds + self.slope() * seconds * seconds / 2.0
    }

    /// The inverse of [`Segment::count`]. Of the two forms of a quadratic's root the one that stays exact as the slope
    /// goes to 0.
    pub(crate) fn seconds(&self, count: f64) -> f64 {
        let root = (self.from * self.from + 2.0 * self.slope() * count)
            .max(0.0)
            .sqrt();
        let sum = self.from + root;
        if sum > 0.0 { 2.0 * count / sum } else { 0.0 }
    }

    /// Requests a second, each second.
    pub(crate) fn slope(&self) -> f64 {
        (self.to - self.from) / self.length.as_secs_f64()
    }
}
