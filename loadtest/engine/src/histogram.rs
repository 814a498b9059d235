//! HDR histograms of durations.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hdrhistogram::{
    Histogram,
    serialization::{self, Serializer as _, V2DeflateSerializer, V2Serializer},
};
use serde::{Deserialize, Deserializer, Serializer, de, ser::Error as _};

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

/// A histogram from bytes, compressed or not.
pub(crate) fn decode(mut encoded: &[u8]) -> Result<Histogram<u64>, String> {
    serialization::Deserializer::new()
        .deserialize(&mut encoded)
        .map_err(|error| format!("is no HDR histogram: {error:?}"))
}

/// For `#[serde(with = "histogram")]`, in JSON: HDR, V2, compressed, which makes it half as long, and in base64.
pub(crate) fn serialize<S: Serializer>(histogram: &Histogram<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut encoded = Vec::new();
    V2DeflateSerializer::new()
        .serialize(histogram, &mut encoded)
        .map_err(S::Error::custom)?;
    serializer.serialize_str(&BASE64_STANDARD.encode(encoded))
}

/// The same the other way round.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Histogram<u64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let encoded = BASE64_STANDARD.decode(text).map_err(de::Error::custom)?;
    decode(&encoded).map_err(de::Error::custom)
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

/// How many durations lie between a bound and the one before it: upper bounds of the series 1, 2, 5 in milliseconds, from
/// 0.1 on, without those that nothing lies under.
pub(crate) fn counts(histogram: &Histogram<u64>) -> Vec<(f64, u64)> {
    let bounds = (0..).flat_map(|power| [1, 2, 5].map(|digit| digit * 10_u64.pow(power) * 100));
    let mut counts = Vec::new();
    let mut below = 0;
    for bound in bounds {
        let up_to = histogram.count_between(0, bound);
        if up_to > below {
            #[expect(clippy::cast_precision_loss, reason = "round numbers below 2^52")]
            counts.push((bound as f64 / 1000.0, up_to - below));
            below = up_to;
        }
        if bound >= histogram.max() {
            return counts;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_hold_every_duration_once() {
        let mut histogram = new();
        assert_eq!(counts(&histogram), []);
        for milliseconds in [0.0, 0.05, 0.3, 0.4, 1.5, 700.0, 3_600_000.0] {
            add(&mut histogram, Duration::from_secs_f64(milliseconds / 1000.0));
        }
        assert_eq!(
            counts(&histogram),
            [(0.1, 2), (0.5, 2), (2.0, 1), (1000.0, 1), (5_000_000.0, 1)]
        );
    }
}
