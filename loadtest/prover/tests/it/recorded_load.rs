//! The report of the load in a recording.

use std::collections::BTreeMap;

use engine::{
    Connections, Content, Counts, Expectations, FailureKind, Latencies, LoadReport, PlanReport, Protocol,
    Rates, Spacing, StageReport, Summary,
};
use jiff::Timestamp;

/// The start of the load.
pub(crate) const BEGAN_AT: Timestamp = Timestamp::constant(1_750_000_000, 0);

/// Returns latencies around this median, in milliseconds.
pub(crate) fn summary(p50: f64) -> Summary {
    let at = |factor: f64| Some(p50 * factor);
    Summary {
        count: 392,
        mean: at(1.1),
        p50: at(1.0),
        p90: at(1.8),
        p95: at(2.2),
        p99: at(4.0),
        p999: at(9.0),
        max: at(12.0),
    }
}

/// Returns the report of a load of 8 pods at a constant rate.
pub(crate) fn load(rate: f64, seconds: f64) -> LoadReport {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small and positive"
    )]
    let sent = (rate * seconds) as u64;
    LoadReport {
        schema: "loadtest.run/v1",
        version: "0.0.0",
        started_at: BEGAN_AT,
        duration_seconds: seconds,
        ended_early: None,
        stripes: Vec::new(),
        warm_up: None,
        slowest: Vec::new(),
        plan: PlanReport {
            stages: vec![StageReport {
                seconds,
                from: rate,
                to: rate,
            }],
            spacing: Spacing::Even,
            duration_seconds: seconds,
            timeout_seconds: 10.0,
            connections: 100,
            warm_up_seconds: 0.0,
            max_in_flight: 10_000,
            max_connection_age_seconds: Some(3.0),
            max_idle_seconds: 4.0,
            dns_ttl_seconds: None,
            protocol: Protocol::Http1,
            insecure: None,
            content: Content::default(),
            threads: 1,
            expectations: Expectations::default(),
        },
        requests: Counts {
            scheduled: sent,
            sent,
            succeeded: sent,
            ..Counts::default()
        },
        failures: FailureKind::ALL.map(|kind| (kind, 0)).into(),
        failure_examples: BTreeMap::new(),
        rates: Rates {
            requested: rate,
            achieved: rate,
            succeeded: rate,
            schedule_held: 1.0,
        },
        latency_ms: summary(0.8),
        latencies: Latencies::default(),
        latency_succeeded_ms: summary(0.8),
        lag_ms: summary(0.1),
        connections: Connections {
            opened: 900,
            connect_ms: summary(0.3),
            wait_ms: summary(0.1),
        },
        statuses: BTreeMap::from([(200, sent)]),
        served_by: (0..8)
            .map(|pod| (format!("app-a-5d8f7-{pod}"), sent / 8))
            .collect(),
        first_served_seconds: (0..8)
            .map(|pod| {
                let at = match pod {
                    0 | 1 => 0.01,
                    2 | 3 => 11.4,
                    _ => 20.9,
                };
                (format!("app-a-5d8f7-{pod}"), at)
            })
            .collect(),
        body_bytes: sent * 11,
        targets: Vec::new(),
        intervals: Vec::new(),
    }
}
