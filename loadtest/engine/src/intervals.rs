//! The measurements per second. Completed seconds are stored encoded, so a run of an hour needs little memory.

use std::{collections::VecDeque, time::Duration};

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{counts::Counts, histogram};

/// The requests whose intended start is in the same second, and their results, whenever they completed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Interval {
    pub(crate) counts: Counts,
    #[serde(with = "histogram")]
    pub(crate) latency: Histogram<u64>,
}

impl Interval {
    fn new() -> Self {
        Self {
            counts: Counts::default(),
            latency: histogram::new(),
        }
    }
}

/// An interval whose requests have all completed. The encoded histogram has a few hundred bytes.
#[derive(Debug, Deserialize)]
#[serde(from = "Interval")]
struct ClosedInterval {
    counts: Counts,
    encoded: Vec<u8>,
}

impl From<Interval> for ClosedInterval {
    fn from(interval: Interval) -> Self {
        Self {
            counts: interval.counts,
            encoded: histogram::encode(&interval.latency),
        }
    }
}

/// The intervals of a run, from second 0.
#[derive(Debug)]
pub(crate) struct Intervals {
    closed: Vec<ClosedInterval>,
    open: VecDeque<Interval>,
    timeout: Duration,
}

impl Intervals {
    /// Creates the intervals of requests that complete within `timeout`.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            closed: Vec::new(),
            open: VecDeque::new(),
            timeout,
        }
    }

    /// Returns the maximum time until a request completes.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns the interval of a request by its intended start.
    pub(crate) fn at(&mut self, intended: Duration) -> &mut Interval {
        let second = usize::try_from(intended.as_secs()).expect("a run lasts less than 2^32 seconds");
        let position = second.saturating_sub(self.closed.len());
        while self.open.len() <= position {
            self.open.push_back(Interval::new());
        }
        &mut self.open[position]
    }

    /// Encodes the intervals whose requests have all completed. `now` is the time since the start of the run.
    pub(crate) fn compact(&mut self, now: Duration) {
        // The 2 s are a margin for delays of the generator itself.
        let horizon = now.saturating_sub(self.timeout + Duration::from_secs(2));
        while (self.closed.len() as u64) < horizon.as_secs() {
            let Some(interval) = self.open.pop_front() else {
                return;
            };
            self.closed.push(interval.into());
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Interval> + '_ {
        let closed = self.closed.iter().map(|interval| Interval {
            counts: interval.counts,
            latency: histogram::decode(&interval.encoded).expect("an encoded histogram can be decoded"),
        });
        closed.chain(self.open.iter().cloned())
    }
}

impl Serialize for Intervals {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Intervals {
    /// Reads the intervals of a completed run. All of them are closed.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self {
            closed: Vec::deserialize(deserializer)?,
            open: VecDeque::new(),
            timeout: Duration::ZERO,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_interval_keeps_its_histogram() {
        let mut intervals = Intervals::new(Duration::from_secs(1));
        for second in 0..10_u64 {
            let intended = Duration::from_secs(second);
            let interval = intervals.at(intended);
            interval.counts.succeeded += 1;
            histogram::record(&mut interval.latency, Duration::from_millis(second + 1));
            intervals.compact(intended);
        }
        assert!(
            intervals.closed.len() >= 6,
            "only {} intervals closed",
            intervals.closed.len()
        );
        let counts_and_maxima: Vec<(u64, u64)> = intervals
            .iter()
            .map(|interval| (interval.counts.succeeded, interval.latency.max() / 1000))
            .collect();
        assert_eq!(
            counts_and_maxima,
            (1..=10).map(|milliseconds| (1, milliseconds)).collect::<Vec<_>>()
        );
    }

    #[test]
    fn memory_does_not_grow_with_the_number_of_requests() {
        let mut intervals = Intervals::new(Duration::from_secs(1));
        for request in 0..200_000_u64 {
            let intended = Duration::from_micros(request * 50);
            let latency = Duration::from_micros(500 + request % 300);
            histogram::record(&mut intervals.at(intended).latency, latency);
            intervals.compact(intended);
        }
        let encoded: usize = intervals
            .closed
            .iter()
            .map(|interval| interval.encoded.len())
            .sum();
        assert!(encoded < 10 * 2048, "{encoded} bytes for ten seconds");
    }
}
