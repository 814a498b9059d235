//! The part of a run's JSON that a comparison needs.

use std::{fs, path::Path};

use hdrhistogram::Histogram;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::{bad_configuration::BadConfiguration, histogram};

/// The supported schema version.
const SCHEMA: &str = "loadtest.run/v1";

/// A run in a file of `loadtest run -o`. Equal values are the same run.
#[derive(Debug, PartialEq, Deserialize)]
pub struct Run {
    /// The time at which the first request was due.
    pub started_at: Timestamp,
    plan: Plan,
    pub(crate) requests: Requests,
    /// All latencies, in microseconds.
    #[serde(with = "histogram")]
    pub(crate) latency_histogram: Histogram<u64>,
    intervals: Vec<Interval>,
    verdict: Verdict,
}

/// The part of the plan that must be equal in compared runs.
#[derive(Debug, PartialEq, Deserialize)]
struct Plan {
    stages: Value,
    protocol: Value,
}

#[derive(Debug, PartialEq, Deserialize)]
pub(crate) struct Requests {
    pub(crate) scheduled: u64,
    pub(crate) failed: u64,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Interval {
    latency_ms: Latency,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Latency {
    count: u64,
    mean: Option<f64>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Verdict {
    outcome: String,
}

impl Run {
    /// Reads the file of a valid run.
    ///
    /// # Errors
    /// When the file cannot be read or is not a run, or when the run is invalid or interrupted.
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
            _ => Ok(run),
        }
    }

    /// Returns whether both runs sent the same load.
    #[must_use]
    pub fn has_same_plan(&self, other: &Self) -> bool {
        self.plan == other.plan
    }

    /// Returns the number of requests and their mean latency, in milliseconds, of each second with a request.
    pub(crate) fn seconds(&self) -> Vec<(u64, f64)> {
        let seconds = self.intervals.iter();
        seconds
            .filter_map(|second| Some((second.latency_ms.count, second.latency_ms.mean?)))
            .collect()
    }
}
