//! An estimated time.

use schemars::JsonSchema;
use serde::Serialize;

use super::trace::TimeRange;

/// An estimated time and its maximum error, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct TimeEstimate {
    /// The middle of the possible range, in seconds.
    pub seconds: f64,
    /// Half the width of the possible range, in seconds.
    pub error: f64,
}

impl TimeEstimate {
    pub(super) fn between(least: f64, most: f64) -> Self {
        Self {
            seconds: f64::midpoint(least, most),
            error: (most - least) / 2.0,
        }
    }

    pub(super) fn range(self) -> TimeRange {
        TimeRange {
            earliest: self.seconds - self.error,
            latest: self.seconds + self.error,
        }
    }
}

impl From<TimeRange> for TimeEstimate {
    fn from(range: TimeRange) -> Self {
        Self::between(range.earliest, range.latest)
    }
}
