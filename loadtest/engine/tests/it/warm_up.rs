//! The warm-up sends requests, and no number of the report counts them.

use std::time::{Duration, Instant};

use axum::{Router, http::StatusCode, routing::get};
use engine::{FailureKind, Load, probe};

use crate::support::{self, Counter};

/// Starts a server that fails the first `failures` requests after 100 ms, and answers the others at once.
fn cold_server(failures: u64) -> (String, Counter) {
    let counter = Counter::default();
    let server = counter.clone();
    let handler = move || async move {
        if server.next() < failures {
            tokio::time::sleep(Duration::from_millis(100)).await;
            return StatusCode::INTERNAL_SERVER_ERROR;
        }
        StatusCode::OK
    };
    let address = support::serve(Router::new().route("/", get(handler)));
    (format!("http://{address}/"), counter)
}

#[test]
fn the_warm_up_is_sent_and_not_counted() {
    let (url, received) = cold_server(20);
    let mut plan = support::plan(&url, 20, Duration::from_secs(2));
    (plan.warm_up, plan.threads) = (Duration::from_secs(1), Some(2));
    let report = support::run_load(plan);
    assert_eq!(received.get(), 60);
    let requests = &report.requests;
    assert_eq!(
        (requests.scheduled, requests.succeeded, requests.failed),
        (40, 40, 0),
        "{:?}",
        report.failure_examples
    );
    assert_eq!(report.latency_ms.count, 40);
    assert!(report.latency_ms.max.unwrap() < 100.0, "{:?}", report.latency_ms);
    assert!(report.failures.values().all(|count| *count == 0));
    assert_eq!(report.statuses, [(200, 40)].into());
    let seconds: Vec<u64> = report.intervals.iter().map(|second| second.counts.sent).collect();
    assert_eq!(seconds, [20, 20]);
    assert!((report.duration_seconds - 2.0).abs() < 1e-9 && report.rates.achieved < 21.0);
    let warm_up = report.warm_up.unwrap();
    assert!((warm_up.seconds - 1.0).abs() < 1e-9);
    assert_eq!((warm_up.requests.sent, warm_up.requests.failed), (20, 20));
    assert_eq!(warm_up.failures, [(FailureKind::Status, 20)].into());
}

#[test]
fn a_load_that_stops_in_its_warm_up_has_no_measured_part() {
    let (url, received) = cold_server(0);
    let mut plan = support::plan(&url, 100, Duration::from_secs(5));
    plan.warm_up = Duration::from_mins(1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let report = runtime.block_on(async {
        let addresses = probe(&plan.mix, &plan.network, Duration::from_secs(5)).await;
        let mut load = Load::start(plan, &addresses.unwrap()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while load.snapshot().warm_up.succeeded == 0 {
            assert!(Instant::now() < deadline, "no request of the warm-up succeeded");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        load.stop();
        load.drained().await.unwrap();
        load.report()
    });
    let warm_up = report.warm_up.unwrap();
    assert_eq!(warm_up.requests.sent, received.get());
    assert!((0.0..30.0).contains(&warm_up.seconds), "{} s", warm_up.seconds);
    assert_eq!((report.requests.scheduled, report.intervals.len()), (0, 0));
    assert!(report.duration_seconds.abs() < 1e-9);
}
