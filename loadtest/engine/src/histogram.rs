//! HDR histograms of durations.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hdrhistogram::{
    Histogram,
    serialization::{self, Serializer as _, V2DeflateSerializer, V2Serializer},
};
use serde::{Deserialize, Deserializer, Serializer, de};

/// Creates a histogram of microseconds with three significant digits. Its range grows with the values.
pub(crate) fn new() -> Histogram<u64> {
    Histogram::new(3).expect("three digits are within the crate's bounds")
}

/// Encodes a histogram as bytes in the HDR V2 format.
pub(crate) fn encode(histogram: &Histogram<u64>) -> Vec<u8> {
    let mut encoded = Vec::new();
    V2Serializer::new()
        .serialize(histogram, &mut encoded)
        .expect("writing to memory does not fail");
    encoded
}

/// Decodes a histogram from compressed or uncompressed bytes.
pub(crate) fn decode(mut encoded: &[u8]) -> Result<Histogram<u64>, String> {
    serialization::Deserializer::new()
        .deserialize(&mut encoded)
        .map_err(|error| format!("not an HDR histogram: {error:?}"))
}

/// Encodes a histogram as text: compressed HDR V2 format in base64. Compression halves the length.
pub(crate) fn encode_text(histogram: &Histogram<u64>) -> String {
    let mut encoded = Vec::new();
    V2DeflateSerializer::new()
        .serialize(histogram, &mut encoded)
        .expect("writing to memory does not fail");
    BASE64_STANDARD.encode(encoded)
}

/// Decodes the text of [`encode_text`].
pub(crate) fn decode_text(text: &str) -> Result<Histogram<u64>, String> {
    let encoded = BASE64_STANDARD.decode(text).map_err(|error| error.to_string())?;
    decode(&encoded)
}

/// Serializes for `#[serde(with = "histogram")]`, as [`encode_text`].
pub(crate) fn serialize<S: Serializer>(histogram: &Histogram<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&encode_text(histogram))
}

/// Deserializes for `#[serde(with = "histogram")]`: the inverse of [`serialize`].
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Histogram<u64>, D::Error> {
    decode_text(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

/// Records one duration. `saturating_record` would cap the value instead of growing the histogram.
pub(crate) fn record(histogram: &mut Histogram<u64>, duration: Duration) {
    const LONGEST: Duration = Duration::from_hours(7 * 24);
    let microseconds = u64::try_from(duration.min(LONGEST).as_micros()).expect("a week fits");
    histogram
        .record(microseconds)
        .expect("the histogram grows up to a week");
}

pub(crate) fn merge(mine: &mut Histogram<u64>, others: &Histogram<u64>) {
    mine.add(others).expect("the histogram grows as needed");
}

/// Returns the count of durations in each bucket that is not empty, with the upper bound of the bucket in milliseconds.
///
/// The upper bounds follow the series 1, 2, 5 and start at 0.1 ms.
pub(crate) fn bucket_counts(histogram: &Histogram<u64>) -> Vec<(f64, u64)> {
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
    fn each_duration_is_in_one_bucket() {
        let mut histogram = new();
        assert_eq!(bucket_counts(&histogram), []);
        for milliseconds in [0.0, 0.05, 0.3, 0.4, 1.5, 700.0, 3_600_000.0] {
            record(&mut histogram, Duration::from_secs_f64(milliseconds / 1000.0));
        }
        assert_eq!(
            bucket_counts(&histogram),
            [(0.1, 2), (0.5, 2), (2.0, 1), (1000.0, 1), (5_000_000.0, 1)]
        );
    }
}
