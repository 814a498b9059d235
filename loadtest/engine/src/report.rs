//! The report of a load.

use std::{collections::BTreeMap, ops::Deref, time::Duration};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hdrhistogram::Histogram;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use super::{
    counts::Counts,
    failure::FailureKind,
    histogram,
    intervals::Interval,
    mix::Protocol,
    plan::Plan,
    record::Recorder,
    schedule::{Schedule, Spacing},
    segment::Segment,
    target::{Expectations, Target},
};
use crate::units::to_f64;

/// The schema version of [`LoadReport`] in JSON. It increases when the meaning of a field changes or a field is
/// removed, but not when a field is added.
const SCHEMA: &str = "loadtest.run/v1";

/// Percentiles of durations, in milliseconds. All fields except `count` are null if there are no values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Summary {
    /// The number of values.
    pub count: u64,
    /// Arithmetic mean, in milliseconds.
    pub mean: Option<f64>,
    /// Median, in milliseconds.
    pub p50: Option<f64>,
    /// 90th percentile, in milliseconds.
    pub p90: Option<f64>,
    /// 95th percentile, in milliseconds.
    pub p95: Option<f64>,
    /// 99th percentile, in milliseconds.
    pub p99: Option<f64>,
    /// 99.9th percentile, in milliseconds.
    #[serde(rename = "p99.9")]
    pub p999: Option<f64>,
    /// Largest value, in milliseconds.
    pub max: Option<f64>,
}

impl Summary {
    /// Summarizes a histogram of microseconds.
    pub(crate) fn from_histogram(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let max = histogram.max();
        let at = |quantile: f64| Some(milliseconds(histogram.value_at_quantile(quantile).min(max)));
        Self {
            count: histogram.len(),
            mean: Some(histogram.mean() / 1000.0),
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            max: Some(milliseconds(max)),
        }
    }
}

fn milliseconds(microseconds: u64) -> f64 {
    to_f64(microseconds) / 1000.0
}

/// All latencies of a run: for percentiles that a [`Summary`] does not contain, and for comparisons with other runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    /// Returns the percentile in milliseconds; `None` if there are no latencies.
    #[must_use]
    pub fn percentile_ms(&self, percentile: f64) -> Option<f64> {
        let max = self.0.max();
        let value = || milliseconds(self.0.value_at_percentile(percentile).min(max));
        (!self.0.is_empty()).then(value)
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self(histogram::new())
    }
}

impl Serialize for Latencies {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(histogram::encode(&self.0)))
    }
}

/// The results of one target.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TargetReport {
    /// The requested target.
    #[serde(flatten)]
    pub target: Target,
    /// The counts of its requests.
    #[serde(flatten)]
    pub counts: Counts,
    /// Latencies from the intended start, in milliseconds.
    pub latency_ms: Summary,
}

/// One second of the run, by the intended start of requests.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct IntervalReport {
    /// The number of the second, from 0 at the start.
    pub second: u64,
    /// The counts of the requests whose intended start is in this second.
    #[serde(flatten)]
    pub counts: Counts,
    /// Latencies of these requests, whenever they completed, in milliseconds.
    pub latency_ms: Summary,
    /// The distribution of these latencies: pairs of an upper bound in milliseconds (0.1, 0.2, 0.5, 1 …) and a count
    /// above 0.
    pub latency_counts: Vec<(f64, u64)>,
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
    /// The maximum time from the intended start to the end of a response, in seconds.
    pub timeout_seconds: f64,
    /// The maximum number of connections to each host.
    pub connections: usize,
    /// The maximum number of requests in flight.
    pub max_in_flight: usize,
    /// The age after which connections were replaced, in seconds; null if there was no maximum age.
    pub max_connection_age_seconds: Option<f64>,
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
    /// The response that counted as a success.
    pub expectations: Expectations,
}

impl PlanReport {
    pub(crate) fn new(plan: &Plan, threads: usize) -> Self {
        Self {
            stages: plan.schedule.segments().map(StageReport::from).collect(),
            spacing: plan.schedule.spacing(),
            duration_seconds: plan.schedule.duration().as_secs_f64(),
            timeout_seconds: plan.timeout.as_secs_f64(),
            connections: plan.connections,
            max_in_flight: plan.max_in_flight,
            max_connection_age_seconds: plan.max_connection_age.map(|age| age.as_secs_f64()),
            dns_ttl_seconds: plan.network.dns_ttl.map(|ttl| ttl.as_secs_f64()),
            threads,
            protocol: plan.mix.protocol(),
            insecure: plan.network.is_insecure(),
            expectations: plan.expectations.clone(),
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

/// All measurements of one load.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LoadReport {
    /// The schema version of this report.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: &'static str,
    /// The version of this program.
    pub version: &'static str,
    /// When the first request was due, by the clock of this machine.
    pub started_at: Timestamp,
    /// How long requests were sent, in seconds; shorter than planned if the load was stopped.
    pub duration_seconds: f64,
    /// The configuration of the generator.
    pub plan: PlanReport,
    /// The processes that sent the load together; absent if one process sent it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stripes: Vec<StripeReport>,
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
    /// Latencies of all sent requests, from the intended start to the end or to the failure, in milliseconds.
    pub latency_ms: Summary,
    /// All latencies: an HDR histogram of microseconds, V2 encoding, in base64.
    #[serde(rename = "latency_histogram")]
    #[schemars(with = "String")]
    pub latencies: Latencies,
    /// The same as `latency_ms`, but only of the requests that succeeded.
    pub latency_succeeded_ms: Summary,
    /// The delay of the generator itself, from the intended start until the request was started, in milliseconds.
    pub lag_ms: Summary,
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

/// The description of the sent load in a report.
pub(crate) struct ReportInput<'a> {
    pub(crate) plan: PlanReport,
    pub(crate) targets: &'a [Target],
    pub(crate) started_at: Timestamp,
    /// How long the load had arrivals.
    pub(crate) length: Duration,
    /// The expected number of arrivals in `length`.
    pub(crate) expected: f64,
}

/// Builds the report from the measurements of all stripes.
pub(crate) fn build<R: Deref<Target = Recorder>>(input: ReportInput<'_>, recorders: &[R]) -> LoadReport {
    let length = input.length;
    let mut all = Recorder::new(input.targets.len(), Duration::ZERO);
    for recorder in recorders {
        all.merge(recorder);
    }
    let mut latency_ms = Summary::from_histogram(&all.latency);
    if latency_ms.count > 0 {
        latency_ms.mean = Some(all.latency_sum.as_secs_f64() * 1000.0 / to_f64(latency_ms.count));
    }
    let seconds = length.max(all.last_taken_up).as_secs_f64();
    let due = all.counts.scheduled + all.missed;
    let share_taken_up = if due == 0 {
        1.0
    } else {
        to_f64(all.counts.scheduled) / to_f64(due)
    };
    let per_second = |count: f64, seconds: f64| if seconds > 0.0 { count / seconds } else { 0.0 };
    let requested = per_second(input.expected, length.as_secs_f64());
    let failures = FailureKind::ALL
        .map(|kind| (kind, all.failures.get(&kind).copied().unwrap_or(0)))
        .into();
    let targets = input.targets.iter().zip(&all.targets);
    LoadReport {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        started_at: input.started_at,
        duration_seconds: length.as_secs_f64(),
        plan: input.plan,
        stripes: Vec::new(),
        requests: all.counts,
        failures,
        rates: Rates {
            requested,
            achieved: per_second(to_f64(all.counts.sent), seconds),
            succeeded: per_second(to_f64(all.counts.succeeded), seconds),
            schedule_held: if seconds > 0.0 {
                share_taken_up * length.as_secs_f64() / seconds
            } else {
                share_taken_up
            },
        },
        latency_ms,
        latencies: Latencies(all.latency),
        latency_succeeded_ms: Summary::from_histogram(&all.latency_succeeded),
        lag_ms: Summary::from_histogram(&all.lag),
        connections: Connections {
            opened: all.opened,
            connect_ms: Summary::from_histogram(&all.connect),
            wait_ms: Summary::from_histogram(&all.connection_wait),
        },
        targets: targets
            .map(|(target, record)| TargetReport {
                target: target.clone(),
                counts: record.counts,
                latency_ms: Summary::from_histogram(&record.latency),
            })
            .collect(),
        intervals: intervals(recorders),
        failure_examples: all.examples,
        statuses: all.statuses,
        first_served_seconds: all
            .served_by
            .iter()
            .map(|(name, served)| (name.clone(), served.first.as_secs_f64()))
            .collect(),
        served_by: all
            .served_by
            .into_iter()
            .map(|(name, served)| (name, served.answers))
            .collect(),
        body_bytes: all.body_bytes,
    }
}

/// Merges the intervals of all stripes, second by second: only one histogram of each stripe is in memory.
fn intervals<R: Deref<Target = Recorder>>(recorders: &[R]) -> Vec<IntervalReport> {
    let mut stripes: Vec<_> = recorders
        .iter()
        .map(|recorder| recorder.intervals.iter())
        .collect();
    let mut merged = Vec::new();
    for second in 0.. {
        let parts: Vec<Interval> = stripes.iter_mut().filter_map(Iterator::next).collect();
        if parts.is_empty() {
            break;
        }
        let mut counts = Counts::default();
        let mut latency = histogram::new();
        for part in &parts {
            counts.merge(&part.counts);
            histogram::merge(&mut latency, &part.latency);
        }
        merged.push(IntervalReport {
            second,
            counts,
            latency_ms: Summary::from_histogram(&latency),
            latency_counts: histogram::bucket_counts(&latency),
        });
    }
    merged
}
