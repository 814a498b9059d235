//! HDR histograms of durations.

use std::time::Duration;

use hdrhistogram::{
    Histogram,
    serialization::{Serializer as _, V2Serializer},
};

/// A histogram of microseconds with three significant digits, growing as far as the values do.
pub(crate) fn new() -> Histogram<u64> {
    Histogram::new(3).expect("three digits are within the crate's bounds")
}

/// The histogram as bytes (HDR, V2).
pub(crate) fn encode(histogram: &Histogram<u64>) -> Vec<u8> {
    let mut encoded = Vec::new();
    V2Serializer::new()
        .serialize(histogram, &mut encoded)
        .expect("writing to memory does not fail");
    encoded
}

/// Adds one duration. (`saturating_record` would not grow the histogram, but cut the value.)
pub(crate) fn add(histogram: &mut Histogram<u64>, duration: Duration) {
    const LONGEST: Duration = Duration::from_hours(7 * 24);
    let microseconds = u64::try_from(duration.min(LONGEST).as_micros()).expect("a week fits");
    histogram.record(microseconds).expect("it grows as far as a week");
}

pub(crate) fn merge(mine: &mut Histogram<u64>, others: &Histogram<u64>) {
    mine.add(others).expect("both grow as needed");
}
