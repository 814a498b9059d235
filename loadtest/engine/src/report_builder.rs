//! Builds the report of a load from the measurements of all stripes.

use std::{ops::Deref, time::Duration};

use jiff::Timestamp;

use super::{
    counts::Counts,
    failure::FailureKind,
    histogram,
    intervals::Interval,
    record::Recorder,
    report::{Connections, IntervalReport, LoadReport, PlanReport, Rates, SCHEMA, TargetReport},
    summary::{Latencies, Summary},
    target::Target,
};
use crate::units::to_f64;

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
    LoadReport {
        intervals: intervals(recorders),
        ..build_totals(input, recorders)
    }
}

/// Builds the report without the results of each second.
pub(crate) fn build_totals<R: Deref<Target = Recorder>>(
    input: ReportInput<'_>,
    recorders: &[R],
) -> LoadReport {
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
        ended_early: None,
        plan: input.plan,
        stripes: Vec::new(),
        warm_up: None,
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
        slowest: all.slowest.report(input.started_at, input.targets),
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
                latencies: Latencies(record.latency.clone()),
            })
            .collect(),
        intervals: Vec::new(),
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
            latency_histogram: histogram::encode_text(&latency),
        });
    }
    merged
}
