//! The result of a load: numbers, and a verdict on whether they can be trusted and whether they are good.

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

/// The version of [`LoadReport`]'s JSON form. Grows when a field changes its meaning or goes, not when one joins.
const SCHEMA: &str = "loadtest.run/v1";

/// Percentiles of durations, in milliseconds. All but `count` are null where nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Summary {
    /// How many values.
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
    /// Of a histogram of microseconds.
    pub(crate) fn from_histogram(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let most = histogram.max();
        let at = |quantile: f64| Some(milliseconds(histogram.value_at_quantile(quantile).min(most)));
        Self {
            count: histogram.len(),
            mean: Some(histogram.mean() / 1000.0),
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            max: Some(milliseconds(most)),
        }
    }
}

fn milliseconds(microseconds: u64) -> f64 {
    to_f64(microseconds) / 1000.0
}

/// Every latency of a run, for percentiles that a [`Summary`] does not have, and to be merged with those of other runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    /// The percentile, in milliseconds; `None` where nothing was measured.
    #[must_use]
    pub fn percentile_ms(&self, percentile: f64) -> Option<f64> {
        let most = self.0.max();
        let value = || milliseconds(self.0.value_at_percentile(percentile).min(most));
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

/// One target's share of the results.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TargetReport {
    /// What was asked for.
    #[serde(flatten)]
    pub target: Target,
    /// What became of it.
    #[serde(flatten)]
    pub counts: Counts,
    /// From the intended start, in milliseconds.
    pub latency_ms: Summary,
}

/// One second of the run, by intended start.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct IntervalReport {
    /// The second, counted from the start.
    pub second: u64,
    /// What was sent in it and what became of that.
    #[serde(flatten)]
    pub counts: Counts,
    /// In milliseconds, of the requests whose intended start lies in this second, whenever they ended.
    pub latency_ms: Summary,
    /// How many of them took how long: pairs of an upper bound in milliseconds (0.1, 0.2, 0.5, 1 …) and a count above 0.
    pub latency_counts: Vec<(f64, u64)>,
}

/// A stretch of the schedule, over which the rate went in a straight line.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StageReport {
    /// How long it was, in seconds.
    pub seconds: f64,
    /// Requests a second at its start.
    pub from: f64,
    /// Requests a second at its end.
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

/// What was asked of the generator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlanReport {
    /// The rate over time, stretch by stretch.
    pub stages: Vec<StageReport>,
    /// How arrivals lay around it.
    pub spacing: Spacing,
    /// How long the schedule was, in seconds.
    pub duration_seconds: f64,
    /// The most seconds from the intended start to the end of an answer.
    pub timeout_seconds: f64,
    /// The most connections to each host.
    pub connections: usize,
    /// The most requests in flight.
    pub max_in_flight: usize,
    /// The age after which connections were replaced, in seconds; nothing where they were kept.
    pub max_connection_age_seconds: Option<f64>,
    /// How old what DNS said might be when a connection was opened, in seconds; nothing where it was asked once, before.
    pub dns_ttl_seconds: Option<f64>,
    /// Generator threads, of all stripes together.
    pub threads: usize,
    /// The version of HTTP.
    pub protocol: Protocol,
    /// TLS took any certificate; not there where there was no TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure: Option<bool>,
    /// What counted as a right answer.
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

    /// How many arrivals the schedule has in its first `length`.
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

/// Rates, in requests a second.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Rates {
    /// Asked for, on average, in requests a second.
    pub requested: f64,
    /// ReportInput, over the time from the start until the last one was sent, in requests a second.
    pub achieved: f64,
    /// Answered as expected, over the same time, in requests a second.
    pub succeeded: f64,
    /// The share of the schedule that the generator took up in time, whether sent or dropped, between 0 and 1.
    pub schedule_held: f64,
}

/// The client's connections.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Connections {
    /// How many were opened over the run.
    pub opened: u64,
    /// What opening one took, in milliseconds, with the lookup of its name where there was one. Part of the latency of the request that needed it.
    pub connect_ms: Summary,
    /// From taking a request up to having a connection for it, in milliseconds. Part of the latency.
    pub wait_ms: Summary,
}

/// One of the processes that sent a load together.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct StripeReport {
    /// Its number, from 0 on.
    pub stripe: u64,
    /// Where it ran, or what its result was read from.
    pub name: String,
    /// What became of its requests, as far as is known.
    #[serde(flatten)]
    pub counts: Counts,
    /// Its own lag, in milliseconds.
    pub lag_ms: Summary,
    /// Why the load was not what it was to be; nothing for a stripe that did its part.
    pub problem: Option<String>,
}

/// Everything measured in one load.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LoadReport {
    /// The version of this form.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: &'static str,
    /// The version of this program.
    pub version: &'static str,
    /// When the first request was due, by this machine's clock.
    pub started_at: Timestamp,
    /// How long requests were sent, in seconds; shorter than planned where the load was stopped.
    pub duration_seconds: f64,
    /// What was asked for.
    pub plan: PlanReport,
    /// The processes that sent it together; not there where one sent it all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stripes: Vec<StripeReport>,
    /// What became of the requests.
    pub requests: Counts,
    /// Failures by kind; every kind is there, most are 0.
    #[schemars(extend("propertyNames" = {"enum": FailureKind::ALL}))]
    pub failures: BTreeMap<FailureKind, u64>,
    /// The first failure of each kind, in words.
    #[schemars(extend("propertyNames" = {"enum": FailureKind::ALL}))]
    pub failure_examples: BTreeMap<FailureKind, String>,
    /// The rates, in requests a second.
    pub rates: Rates,
    /// From the intended start to the end, in milliseconds, of every request sent: failed ones too, at the time they failed at.
    pub latency_ms: Summary,
    /// All of them: an HDR histogram of microseconds, V2 encoding, in base64.
    #[serde(rename = "latency_histogram")]
    #[schemars(with = "String")]
    pub latencies: Latencies,
    /// The same as `latency_ms`, of the requests that succeeded.
    pub latency_succeeded_ms: Summary,
    /// The generator's own delay, in milliseconds: from the intended start until the request was taken up.
    pub lag_ms: Summary,
    /// The client's connections.
    pub connections: Connections,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Answers by what the server calls itself in `x-served-by`.
    pub served_by: BTreeMap<String, u64>,
    /// When the first answer of each of them had come, in seconds since the start.
    pub first_served_seconds: BTreeMap<String, f64>,
    /// Bytes of answers' bodies.
    pub body_bytes: u64,
    /// Each target's share.
    pub targets: Vec<TargetReport>,
    /// The run second by second.
    pub intervals: Vec<IntervalReport>,
}

/// What was sent, as a report says it.
pub(crate) struct ReportInput<'a> {
    pub(crate) plan: PlanReport,
    pub(crate) targets: &'a [Target],
    pub(crate) started_at: Timestamp,
    /// How long arrivals went on.
    pub(crate) length: Duration,
    /// How many arrivals the schedule has in that time.
    pub(crate) expected: f64,
}

/// Puts the stripes' measurements together.
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
    let taken_up = if due == 0 {
        1.0
    } else {
        to_f64(all.counts.scheduled) / to_f64(due)
    };
    let per_second = |count: f64, seconds: f64| if seconds > 0.0 { count / seconds } else { 0.0 };
    let asked = per_second(input.expected, length.as_secs_f64());
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
            requested: asked,
            achieved: per_second(to_f64(all.counts.sent), seconds),
            succeeded: per_second(to_f64(all.counts.succeeded), seconds),
            schedule_held: if seconds > 0.0 {
                taken_up * length.as_secs_f64() / seconds
            } else {
                taken_up
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

/// The stripes' intervals, merged a second at a time so that only one histogram of each is in memory.
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
