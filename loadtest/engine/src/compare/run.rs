//! As much of a run's JSON as a comparison needs.

use std::{fs, path::Path};

use hdrhistogram::Histogram;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::{bad_configuration::BadConfiguration, histogram};

/// The form that is understood.
const SCHEMA: &str = "loadtest.run/v1";

/// A run that was written by `loadtest run -o`. What is equal is the same run.
#[derive(Debug, PartialEq, Deserialize)]
pub struct Run {
    /// When the first request was due.
    pub started_at: Timestamp,
    plan: Plan,
    pub(crate) requests: Requests,
    /// Every latency, in microseconds.
    #[serde(with = "histogram")]
    pub(crate) latency_histogram: Histogram<u64>,
    intervals: Vec<Interval>,
    verdict: Verdict,
}

/// What must be the same for two runs to be compared.
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
    /// Reads the file of a run whose numbers can be trusted.
    ///
    /// # Errors
    /// When the file cannot be read, is not a run, or the run is invalid.
    pub fn read(path: &Path) -> Result<Self, BadConfiguration> {
        let bad = |why: &dyn std::fmt::Display| BadConfiguration(format!("{}: {why}", path.display()));
        let text = fs::read_to_string(path).map_err(|error| bad(&error))?;
        let value: Value = serde_json::from_str(&text).map_err(|error| bad(&error))?;
        if value["schema"] != SCHEMA {
            return Err(bad(&format!(
                "is no run of {SCHEMA}, as `loadtest run -o FILE` writes it"
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

    /// Whether both sent the same load.
    #[must_use]
    pub fn has_same_plan(&self, other: &Self) -> bool {
        self.plan == other.plan
    }

    /// The count and the mean, in milliseconds, of each second in which there was a request.
    pub(crate) fn seconds(&self) -> Vec<(u64, f64)> {
        let seconds = self.intervals.iter();
        seconds
            .filter_map(|second| Some((second.latency_ms.count, second.latency_ms.mean?)))
            .collect()
    }
}
