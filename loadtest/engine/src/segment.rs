//! One segment of a schedule.

use std::time::Duration;

/// A period in which the rate changes linearly from one value to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Segment {
    /// The length of the segment.
    pub length: Duration,
    /// The rate at the start, in requests per second.
    pub from: f64,
    /// The rate at the end, in requests per second.
    pub to: f64,
}

impl Segment {
    /// Creates a segment with a constant rate, in requests per second.
    #[must_use]
    pub fn constant(length: Duration, rate: f64) -> Self {
        Self {
            length,
            from: rate,
            to: rate,
        }
    }

    /// Returns the number of arrivals in the first `seconds` of the segment.
    pub(crate) fn arrivals_after(&self, seconds: f64) -> f64 {
        self.from * seconds + self.slope() * seconds * seconds / 2.0
    }

    /// Returns the seconds from the start until `count` arrivals: the inverse of [`Segment::arrivals_after`].
    ///
    /// A quadratic root has two equivalent forms. This form stays exact when the slope approaches 0.
    pub(crate) fn seconds_until(&self, count: f64) -> f64 {
        let root = (self.from * self.from + 2.0 * self.slope() * count)
            .max(0.0)
            .sqrt();
        let sum = self.from + root;
        if sum > 0.0 { 2.0 * count / sum } else { 0.0 }
    }

    /// Returns the change of the rate, in requests per second per second.
    pub(crate) fn slope(&self) -> f64 {
        (self.to - self.from) / self.length.as_secs_f64()
    }
}
