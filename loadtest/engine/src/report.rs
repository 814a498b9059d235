//! The report of a load.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    content::Content,
    counts::Counts,
    failure::FailureKind,
    histogram,
    mix::Protocol,
    plan::Plan,
    schedule::{Schedule, Spacing},
    segment::Segment,
    slowest::SlowRequest,
    summary::{Latencies, Summary},
    target::{Expectations, Target},
    warm_up::WarmUp,
};
use crate::units::{short, to_f64};

/// The schema version of [`LoadReport`] in JSON. It increases when the meaning of a field changes or a field is
/// removed, but not when a field is added.
pub(crate) const SCHEMA: &str = "loadtest.run/v1";

/// The results of one target.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TargetReport {
    /// The requested target.
    #[serde(flatten)]
    pub target: Target,
    /// The counts of its requests.
    #[serde(flatten)]
    pub counts: Counts,
    /// Latencies of all its arrivals from the intended start, in milliseconds; see the `latency_ms` of the run.
    pub latency_ms: Summary,
    /// All of these latencies: an HDR histogram of microseconds, V2 encoding, in base64.
    #[serde(rename = "latency_histogram")]
    #[schemars(with = "String")]
    pub latencies: Latencies,
}

/// One second of the run, by the intended start of requests.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct IntervalReport {
    /// The number of the second, from 0 at the start.
    pub second: u64,
    /// The counts of the requests whose intended start is in this second.
    #[serde(flatten)]
    pub counts: Counts,
    /// Latencies of these arrivals, whenever they completed, in milliseconds; see the `latency_ms` of the run.
    pub latency_ms: Summary,
    /// The distribution of these latencies: pairs of an upper bound in milliseconds (0.1, 0.2, 0.5, 1 …) and a count
    /// above 0.
    pub latency_counts: Vec<(f64, u64)>,
    /// All of these latencies: an HDR histogram of microseconds, compressed V2 encoding, in base64.
    pub latency_histogram: String,
}

/// A period of the schedule in which the rate changed linearly.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StageReport {
    /// The length, in seconds.
    pub seconds: f64,
    /// The rate at the start, in requests per second.
    pub from: f64,
    /// The rate at the end, in requests per second.
    pub to: f64,
}

impl From<Segment> for StageReport {
    fn from(segment: Segment) -> Self {
        Self {
            seconds: segment.length.as_secs_f64(),
            from: segment.from,
            to: segment.to,
        }
    }
}

/// The configuration of the generator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlanReport {
    /// The rate over time, as consecutive stages.
    pub stages: Vec<StageReport>,
    /// The distribution of arrivals around the rate.
    pub spacing: Spacing,
    /// The length of the schedule, in seconds.
    pub duration_seconds: f64,
    /// The length of the warm-up before the schedule, in seconds; 0 without a warm-up.
    #[serde(default)]
    pub warm_up_seconds: f64,
    /// The maximum time from the intended start to the end of a response, in seconds.
    pub timeout_seconds: f64,
    /// The maximum number of connections to each host.
    pub connections: usize,
    /// The maximum number of requests in flight.
    pub max_in_flight: usize,
    /// The age after which connections were replaced, in seconds; null if there was no maximum age.
    pub max_connection_age_seconds: Option<f64>,
    /// The idle time after which connections were closed, in seconds.
    pub max_idle_seconds: f64,
    /// The maximum age of a DNS answer when a connection was opened, in seconds; null if names were resolved only once,
    /// before the load.
    pub dns_ttl_seconds: Option<f64>,
    /// The number of generator threads of all stripes together.
    pub threads: usize,
    /// The version of HTTP.
    pub protocol: Protocol,
    /// Whether TLS accepted any certificate; absent without TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure: Option<bool>,
    /// The headers and the body of the requests.
    pub content: Content,
    /// The response that counted as a success.
    pub expectations: Expectations,
}

impl PlanReport {
    pub(crate) fn new(plan: &Plan, threads: usize) -> Self {
        Self {
            stages: plan.schedule.segments().map(StageReport::from).collect(),
            spacing: plan.schedule.spacing(),
            duration_seconds: plan.schedule.duration().as_secs_f64(),
            warm_up_seconds: plan.warm_up.as_secs_f64(),
            timeout_seconds: plan.timeout.as_secs_f64(),
            connections: plan.connections,
            max_in_flight: plan.max_in_flight,
            max_connection_age_seconds: plan.max_connection_age.map(|age| age.as_secs_f64()),
            max_idle_seconds: plan.max_idle.as_secs_f64(),
            dns_ttl_seconds: plan.network.dns_ttl.map(|ttl| ttl.as_secs_f64()),
            threads,
            protocol: plan.mix.protocol(),
            insecure: plan.network.is_insecure(),
            content: plan.mix.content().clone(),
            expectations: plan.expectations.clone(),
        }
    }

    /// Returns the lengths of the warm-up and of the measured part.
    ///
    /// `stopped_after` is the time from the start of the load until it was stopped; `None` if it was not stopped.
    pub(crate) fn lengths(&self, stopped_after: Option<Duration>) -> (Duration, Duration) {
        let warm_up = Duration::from_secs_f64(self.warm_up_seconds);
        let measured = Duration::from_secs_f64(self.duration_seconds);
        match stopped_after {
            None => (warm_up, measured),
            Some(after) => (after.min(warm_up), after.saturating_sub(warm_up).min(measured)),
        }
    }

    /// Returns the expected number of arrivals in the first `length` of the schedule.
    pub(crate) fn expected(&self, length: Duration) -> f64 {
        let stages = self.stages.iter().map(|stage| Segment {
            length: Duration::try_from_secs_f64(stage.seconds).unwrap_or_default(),
            from: stage.from,
            to: stage.to,
        });
        let stages: Vec<_> = stages.collect();
        Schedule::from_segments(&stages, self.spacing).expected(length)
    }
}

/// Rates, in requests per second.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Rates {
    /// The average rate of the schedule, in requests per second.
    pub requested: f64,
    /// The rate of sent requests, in requests per second, from the start until the load ended or until the last arrival
    /// was sent or dropped, whichever is later.
    pub achieved: f64,
    /// The rate of successful requests over the same time, in requests per second.
    pub succeeded: f64,
    /// The share of the schedule that the generator handled on time, sent or dropped; between 0 and 1.
    pub schedule_held: f64,
}

/// The client's connections.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Connections {
    /// The number of connections opened during the run.
    pub opened: u64,
    /// The time to open a connection, including a DNS lookup if there was one, in milliseconds. Part of the latency of
    /// the request that opened it.
    pub connect_ms: Summary,
    /// The time from the start of a request until a connection was available, in milliseconds. Part of the latency.
    pub wait_ms: Summary,
}

/// One of the processes that sent the load together.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct StripeReport {
    /// The number of the stripe, from 0.
    pub stripe: u64,
    /// The pod that ran the stripe, or the file with its result.
    pub name: String,
    /// The counts of its requests; 0 if they are not known.
    #[serde(flatten)]
    pub counts: Counts,
    /// The lag of this stripe, in milliseconds.
    pub lag_ms: Summary,
    /// The reason why the stripe did not send its part of the load; null if it did.
    pub problem: Option<String>,
}

/// The end of a load that was stopped because it could no longer pass.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct EarlyEnd {
    /// The time from `started_at` until the arrivals were stopped, in seconds.
    pub after_seconds: f64,
    /// The broken bound, with its value at that time.
    pub reason: String,
}

impl EarlyEnd {
    /// Returns the time and the reason as text.
    #[must_use]
    pub fn describe(&self) -> String {
        format!(
            "ended early after {} s: {}",
            short(self.after_seconds),
            self.reason
        )
    }
}

/// All measurements of one load.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LoadReport {
    /// The schema version of this report.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: &'static str,
    /// The version of this program.
    pub version: &'static str,
    /// When the first counted request was due, by the clock of this machine.
    pub started_at: Timestamp,
    /// How long requests were sent, in seconds; shorter than planned if the load was stopped.
    pub duration_seconds: f64,
    /// When and why the load was ended early; null if it was not.
    pub ended_early: Option<EarlyEnd>,
    /// The configuration of the generator.
    pub plan: PlanReport,
    /// The processes that sent the load together; absent if one process sent it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stripes: Vec<StripeReport>,
    /// The warm-up, which all other numbers exclude; absent without a warm-up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<WarmUp>,
    /// The counts of all requests.
    pub requests: Counts,
    /// Failures by kind. All kinds are present, most of them with 0.
    #[schemars(extend("propertyNames" = {"enum": FailureKind::ALL}))]
    pub failures: BTreeMap<FailureKind, u64>,
    /// The text of the first failure of each kind.
    #[schemars(extend("propertyNames" = {"enum": FailureKind::ALL}))]
    pub failure_examples: BTreeMap<FailureKind, String>,
    /// The rates, in requests per second.
    pub rates: Rates,
    /// Latencies of all arrivals from the intended start, in milliseconds. An arrival without a complete response (dropped,
    /// timed out, not connected, reset …) counts with at least the timeout.
    pub latency_ms: Summary,
    /// All latencies: an HDR histogram of microseconds, V2 encoding, in base64.
    #[serde(rename = "latency_histogram")]
    #[schemars(with = "String")]
    pub latencies: Latencies,
    /// The same as `latency_ms`, but only of the requests that succeeded.
    pub latency_succeeded_ms: Summary,
    /// The delay of the generator itself, from the intended start until the request was started, in milliseconds.
    pub lag_ms: Summary,
    /// The requests with the highest latencies, the slowest first; at most as many as `--slowest` allows.
    pub slowest: Vec<SlowRequest>,
    /// The connections of the client.
    pub connections: Connections,
    /// Responses by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Responses by server, as the server names itself in `x-served-by`.
    pub served_by: BTreeMap<String, u64>,
    /// The end of the first response of each server, in seconds since the start.
    pub first_served_seconds: BTreeMap<String, f64>,
    /// The number of bytes in the bodies of all responses.
    pub body_bytes: u64,
    /// The results of each target.
    pub targets: Vec<TargetReport>,
    /// The results of each second.
    pub intervals: Vec<IntervalReport>,
}

impl LoadReport {
    /// Returns the latencies of the arrivals that were due in the seconds whose middle is in this period, in seconds since
    /// the start.
    #[must_use]
    pub fn latency_between(&self, from: f64, to: f64) -> Summary {
        let mut all = histogram::new();
        for interval in &self.intervals {
            let middle = to_f64(interval.second) + 0.5;
            if (from..to).contains(&middle)
                && let Ok(latencies) = histogram::decode_text(&interval.latency_histogram)
            {
                histogram::merge(&mut all, &latencies);
            }
        }
        Summary::from_histogram(&all)
    }
}
