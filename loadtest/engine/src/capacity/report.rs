//! The report of a search for the capacity of a target.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{counts::Counts, summary::Summary, target::Target, threshold::ThresholdReport};

/// The version of the JSON format of [`CapacityReport`]. It increases when a field is removed or changes its meaning.
pub(crate) const SCHEMA: &str = "loadtest.capacity/v1";

/// The result of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// The target held the rate: every bound holds.
    Held,
    /// A bound is broken.
    Missed,
    /// The generator did not hold the rate, which says nothing about the target.
    Invalid,
}

/// A load at a constant rate.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CapacityStep {
    /// The rate, in requests per second.
    pub rate: u32,
    /// The result.
    pub outcome: StepOutcome,
    /// The reasons why the rate was not held; empty if it was.
    pub reasons: Vec<String>,
    /// The counts of the requests.
    pub requests: Counts,
    /// The latencies, in milliseconds, as in the report of a run.
    pub latency_ms: Summary,
    /// The thresholds, in the order given.
    pub thresholds: Vec<ThresholdReport>,
}

/// Why the search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SearchEnd {
    /// The target did not hold `missed_rate`: `rate` is its capacity.
    Found,
    /// The generator did not hold `missed_rate`: the capacity is at least `rate`.
    Generator,
    /// The highest rate of the search was held: the capacity is at least `rate`.
    HighestRate,
    /// The lowest rate of the search was missed: the capacity is lower.
    LowestRate,
    /// The number of steps was used up: the capacity is between `rate` and `missed_rate`, as far as they are known.
    MaxSteps,
    /// The time was used up: the capacity is between `rate` and `missed_rate`, as far as they are known.
    MaxTime,
    /// A signal stopped the search.
    Interrupted,
}

/// The highest rate that a target holds, and the steps that found it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CapacityReport {
    /// The version of this format.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: &'static str,
    /// The version of this program.
    pub version: &'static str,
    /// The start of the search.
    pub started_at: Timestamp,
    /// The targets of the requests.
    pub targets: Vec<Target>,
    /// The length of each step, in seconds.
    pub step_seconds: f64,
    /// The highest rate that was held, in requests per second; null if no rate was held.
    pub rate: Option<u32>,
    /// The lowest rate that two steps in a row missed, in requests per second; null if there was none.
    pub missed_rate: Option<u32>,
    /// Why the search ended.
    pub end: SearchEnd,
    /// The steps, in the order in which they were sent.
    pub steps: Vec<CapacityStep>,
}
