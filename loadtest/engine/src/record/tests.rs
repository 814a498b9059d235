//! The tests of `record`.

use http::HeaderValue;
use jiff::Timestamp;

use super::{
    super::{intervals::Interval, summary::Summary},
    *,
};

fn completed(intended: Duration, latency: Duration) -> CompletedRequest {
    CompletedRequest {
        intended,
        target: 0,
        latency,
        result: Ok(()),
        details: ExchangeDetails::default(),
    }
}

#[test]
fn a_request_counts_in_the_second_of_its_intended_start() {
    let mut recorder = Recorder::new(1, Duration::from_secs(1));
    for second in 0..10_u64 {
        let intended = Duration::from_secs(second);
        recorder.record_sent(intended, 0, Duration::ZERO);
        recorder.record_completed(completed(intended, Duration::from_millis(second + 1)));
        recorder.intervals.compact(intended);
    }
    let seconds: Vec<(u64, u64, u64)> = recorder
        .intervals
        .iter()
        .map(|Interval { counts, latency }| (counts.sent, counts.succeeded, latency.max() / 1000))
        .collect();
    let expected: Vec<_> = (1..=10).map(|milliseconds| (1, 1, milliseconds)).collect();
    assert_eq!(seconds, expected);
}

#[test]
fn percentiles_of_two_known_latencies_are_exact_to_a_thousandth() {
    let mut recorder = Recorder::new(1, Duration::from_secs(1));
    for request in 0..1000_u64 {
        // Four of five requests take 20.123 ms.
        let microseconds = if request % 5 == 4 { 80_987 } else { 20_123 };
        recorder.record_completed(completed(
            Duration::from_millis(request),
            Duration::from_micros(microseconds),
        ));
    }
    let summary = Summary::from_histogram(&recorder.latency);
    for (measured, expected) in [
        (summary.p50, 20.123),
        (summary.p90, 80.987),
        (summary.p99, 80.987),
        (summary.mean, 0.8 * 20.123 + 0.2 * 80.987),
    ] {
        let measured = measured.unwrap();
        assert!(
            (measured / expected - 1.0).abs() <= 0.001,
            "{measured} ms instead of {expected} ms"
        );
    }
}

#[test]
fn an_arrival_without_a_complete_response_counts_with_at_least_the_timeout() {
    let timeout = Duration::from_secs(1);
    let short = Duration::from_millis(2);
    let failed = |kind| CompletedRequest {
        result: Err(Failure {
            kind,
            detail: String::new(),
        }),
        ..completed(Duration::ZERO, short)
    };
    for kind in FailureKind::ALL {
        let mut recorder = Recorder::new(1, timeout);
        recorder.slowest = Slowest::new(1);
        if kind == FailureKind::Dropped {
            recorder.record_dropped(Duration::ZERO, 0, short);
        } else {
            recorder.record_completed(failed(kind));
        }
        let expected = match kind {
            FailureKind::Status | FailureKind::Body => 2.0,
            _ => 1000.0,
        };
        let second = recorder.intervals.iter().next().unwrap();
        for latencies in [&recorder.latency, &recorder.targets[0].latency, &second.latency] {
            let measured = Summary::from_histogram(latencies).p99.unwrap();
            assert!(
                (measured / expected - 1.0).abs() <= 0.001,
                "{kind:?}: {measured} ms"
            );
        }
        assert!(recorder.latency_succeeded.is_empty());
        // The list contains the same latency, but the real times of its parts.
        let targets = ["1 GET http://h/".parse().unwrap()];
        let [listed] = &recorder.slowest.report(Timestamp::UNIX_EPOCH, &targets)[..] else {
            panic!("{kind:?} is not listed");
        };
        let parts = listed.lag_ms + listed.wait_ms + listed.response_ms.unwrap_or_default();
        assert_eq!(
            (listed.failure, listed.latency_ms, parts),
            (Some(kind), expected, 2.0)
        );
    }
    let mut recorder = Recorder::new(1, timeout);
    recorder.record_dropped(Duration::ZERO, 0, Duration::from_secs(3));
    assert_eq!(
        recorder.latency_sum,
        Duration::from_secs(3),
        "a late drop waited longer"
    );
}

#[test]
fn the_number_of_server_names_is_limited() {
    let mut recorder = Recorder::new(1, Duration::from_secs(1));
    for name in 0..MAX_SERVED_BY_NAMES + 50 {
        let details = ExchangeDetails {
            served_by: Some(HeaderValue::from(name)),
            ..ExchangeDetails::default()
        };
        recorder.record_completed(CompletedRequest {
            details,
            ..completed(Duration::ZERO, Duration::from_millis(1))
        });
    }
    assert_eq!(recorder.served_by.len(), MAX_SERVED_BY_NAMES + 1);
    assert_eq!(recorder.served_by[OTHER_SERVERS].answers, 50);
}
