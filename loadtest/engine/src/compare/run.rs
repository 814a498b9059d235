//! The part of a run's JSON that a comparison needs.

use std::{fs, path::Path};

use hdrhistogram::Histogram;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{
    load::SentLoad,
    requests::Requests,
    swaps::{MIN_PARTS, part_count},
};
use crate::{bad_configuration::BadConfiguration, histogram};

/// The supported schema version.
const SCHEMA: &str = "loadtest.run/v1";

/// A run in a file of `loadtest run -o`. Equal values are the same run.
#[derive(Debug, PartialEq, Deserialize)]
pub struct Run {
    /// The time at which the first request was due.
    pub started_at: Timestamp,
    #[serde(flatten)]
    load: SentLoad,
    requests: Counts,
    /// All latencies, in microseconds.
    #[serde(with = "histogram")]
    latency_histogram: Histogram<u64>,
    intervals: Vec<Interval>,
    #[serde(default)]
    ended_early: Option<Value>,
    verdict: Verdict,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Counts {
    scheduled: u64,
    failed: u64,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Interval {
    second: u64,
    #[serde(flatten)]
    requests: Counts,
    #[serde(with = "histogram")]
    latency_histogram: Histogram<u64>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Verdict {
    outcome: String,
}

impl Run {
    /// Reads the file of a valid run.
    ///
    /// # Errors
    /// When the file cannot be read or is not a run, or when the run is invalid, interrupted or ended early.
    pub fn read(path: &Path) -> Result<Self, BadConfiguration> {
        let bad = |reason: &dyn std::fmt::Display| BadConfiguration(format!("{}: {reason}", path.display()));
        let text = fs::read_to_string(path).map_err(|error| bad(&error))?;
        let value: Value = serde_json::from_str(&text).map_err(|error| bad(&error))?;
        if value["schema"] != SCHEMA {
            return Err(bad(&format!(
                "not a run with the schema {SCHEMA}; write one with `loadtest run -o FILE`"
            )));
        }
        let run: Self = serde_json::from_value(value).map_err(|error| bad(&error))?;
        match run.verdict.outcome.as_str() {
            "invalid" | "interrupted" => Err(bad(&format!(
                "the run was {}: its numbers say nothing about the server",
                run.verdict.outcome
            ))),
            _ if run.ended_early.is_some() => Err(bad(&"the run ended early; compare complete runs")),
            _ => Ok(run),
        }
    }

    /// Returns the differences between the loads that both runs sent, with both values; empty if they sent the same load.
    #[must_use]
    pub fn load_differences(&self, other: &Self) -> Vec<String> {
        self.load.differences(&other.load)
    }

    /// Returns an error if the run is too short to be compared with a single run.
    ///
    /// # Errors
    /// The reason, and what to do.
    pub fn check_length(&self) -> Result<(), BadConfiguration> {
        if self.seconds() < MIN_PARTS {
            return Err(BadConfiguration(format!(
                "the load of {} s is too short to compare one run with one run: send at least {MIN_PARTS} s, or give \
                 at least 2 runs for each side",
                crate::units::short(self.load.seconds())
            )));
        }
        Ok(())
    }

    /// Returns the number of seconds of the planned load. The last one can be incomplete.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a run lasts at most a week"
    )]
    fn seconds(&self) -> usize {
        self.load.seconds().ceil() as usize
    }

    /// Returns all requests.
    pub(crate) fn all(&self) -> Requests {
        Requests {
            latencies: self.latency_histogram.clone(),
            scheduled: self.requests.scheduled,
            failed: self.requests.failed,
        }
    }

    /// Returns the requests in parts of whole seconds.
    pub(crate) fn parts(&self) -> Vec<Requests> {
        let seconds = self.seconds().max(1);
        let count = part_count(seconds);
        let empty = || Requests {
            latencies: histogram::new(),
            scheduled: 0,
            failed: 0,
        };
        let mut parts: Vec<_> = (0..count).map(|_| empty()).collect();
        for interval in &self.intervals {
            let second = usize::try_from(interval.second).unwrap_or(usize::MAX);
            let part = &mut parts[second.min(seconds - 1) * count / seconds];
            histogram::merge(&mut part.latencies, &interval.latency_histogram);
            part.scheduled += interval.requests.scheduled;
            part.failed += interval.requests.failed;
        }
        parts
    }
}
