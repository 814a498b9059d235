//! The report contains the latencies, failures and mixes that the test servers produce.

use std::time::Duration;

use axum::{
    Router,
    http::StatusCode,
    routing::{any, get},
};
use engine::{Expectations, FailureKind, Mix, Protocol, Stripe};

use crate::support::{self, Counter};

/// The allowance for the server's delay: Tokio's timer rounds up to the next millisecond.
const TIMER_ALLOWANCE_MS: f64 = 1.5;

#[test]
fn percentiles_show_both_latencies_of_a_server() {
    let counter = Counter::default();
    // Four of five requests take 20 ms, and one of five takes 120 ms.
    let handler = move || async move {
        let slow = counter.next() % 5 == 4;
        tokio::time::sleep(Duration::from_millis(if slow { 120 } else { 20 })).await;
        "Hello there"
    };
    let address = support::serve(Router::new().route("/", get(handler)));
    let report = support::run_load(support::plan(
        &format!("http://{address}/"),
        200,
        Duration::from_secs(4),
    ));
    let latency = &report.latency_ms;
    let assert_close = |name: &str, measured: Option<f64>, expected: f64| {
        let measured = measured.unwrap();
        let allowed = expected * 0.05 + TIMER_ALLOWANCE_MS + report.lag_ms.p99.unwrap();
        assert!(
            (0.0..=allowed).contains(&(measured - expected)),
            "{name} is {measured} ms, expected {expected} ms"
        );
    };
    assert_close("p50", latency.p50, 20.0);
    assert_close("p90", latency.p90, 120.0);
    assert_close("p99", latency.p99, 120.0);
    assert_close("mean", latency.mean, 40.0);
    assert_eq!(report.requests.succeeded, 800);
}

#[test]
fn each_failure_is_reported_with_its_kind() {
    let router = Router::new()
        .route("/status", get(|| async { StatusCode::SERVICE_UNAVAILABLE }))
        .route("/body", get(|| async { "something else" }))
        .route("/never", get(std::future::pending::<()>))
        .route(
            "/redirect",
            get(|| async { (StatusCode::FOUND, [("location", "/body")]) }),
        );
    let address = support::serve(router);
    for (path, kind) in [
        ("status", FailureKind::Status),
        ("redirect", FailureKind::Status),
        ("body", FailureKind::Body),
        ("never", FailureKind::Timeout),
    ] {
        let mut plan = support::plan(
            &format!("http://{address}/{path}"),
            50,
            Duration::from_millis(400),
        );
        plan.timeout = Duration::from_millis(300);
        plan.expectations = Expectations {
            bodies: vec!["Hello there".to_owned()],
            ..Expectations::default()
        };
        let report = support::run_load(plan);
        assert_eq!(
            (
                report.requests.sent,
                report.requests.failed,
                report.failures[&kind]
            ),
            (20, 20, 20),
            "{path}: {report:#?}"
        );
        assert_eq!(
            report.latency_ms.count, 20,
            "{path}: failed requests also have a latency"
        );
        assert!(
            !report.failure_examples[&kind].is_empty(),
            "{path}: the report has no example"
        );
    }
}

#[test]
fn a_timed_out_request_has_the_timeout_as_its_latency() {
    let address = support::serve(Router::new().route("/", get(std::future::pending::<()>)));
    let mut plan = support::plan(&format!("http://{address}/"), 100, Duration::from_millis(500));
    plan.timeout = Duration::from_millis(700);
    let report = support::run_load(plan);
    assert_eq!(
        (report.requests.failed, report.requests.in_flight()),
        (50, 0),
        "all requests failed, and none is in flight"
    );
    let (median, max) = (report.latency_ms.p50.unwrap(), report.latency_ms.max.unwrap());
    assert!(
        (699.0..760.0).contains(&median) && max < 800.0,
        "the median is {median} ms and the maximum is {max} ms"
    );
}

#[test]
fn requests_to_a_closed_port_are_connect_failures() {
    // The probe and the load use one connection each. After that, the port is closed.
    let address = support::respond_once_on_connections(2);
    let report = support::run_load(support::plan(
        &format!("http://{address}/"),
        100,
        Duration::from_millis(500),
    ));
    assert!(
        report.failures[&FailureKind::Connect] >= 40,
        "{:?}",
        report.failures
    );
    assert_eq!(report.requests.succeeded + report.requests.failed, 50);
}

#[test]
fn a_response_that_is_not_http_is_a_protocol_failure() {
    let address = support::respond_with(b"SSH-2.0-OpenSSH_9.2\r\n");
    let report = support::run_load(support::plan(
        &format!("http://{address}/"),
        50,
        Duration::from_millis(400),
    ));
    assert_eq!(
        report.failures[&FailureKind::Protocol],
        20,
        "{:?}",
        report.failures
    );
}

#[test]
fn a_truncated_body_is_a_reset_failure() {
    let address = support::respond_with(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nHello there");
    let report = support::run_load(support::plan(
        &format!("http://{address}/"),
        50,
        Duration::from_millis(400),
    ));
    assert_eq!(report.failures[&FailureKind::Reset], 20, "{:?}", report.failures);
}

#[test]
fn a_mix_keeps_its_shares_and_the_report_has_each_target() {
    let router = Router::new()
        .route(
            "/hello",
            get(|| async { ([("x-served-by", "pod-1")], "Hello there") }),
        )
        .route(
            "/jobs",
            any(|headers: http::HeaderMap, method: http::Method| async move {
                if headers["authorization"] == "mytoken" && method == http::Method::PUT {
                    StatusCode::OK
                } else {
                    StatusCode::UNAUTHORIZED
                }
            }),
        );
    let address = support::serve(router);
    let targets = vec![
        format!("3 GET http://{address}/hello").parse().unwrap(),
        format!("1 PUT http://{address}/jobs").parse().unwrap(),
    ];
    let mut plan = support::plan(&format!("http://{address}/"), 200, Duration::from_secs(1));
    let token = ("authorization".parse().unwrap(), "mytoken".parse().unwrap());
    plan.mix = Mix::new(targets, &[token], &bytes::Bytes::new(), Protocol::Http1).unwrap();
    let report = support::run_load(plan);
    assert_eq!(report.requests.failed, 0, "{:?}", report.failure_examples);
    let sent: Vec<u64> = report.targets.iter().map(|target| target.counts.sent).collect();
    assert!(sent[0].abs_diff(150) <= 3 && sent[0] + sent[1] == 200, "{sent:?}");
    assert_eq!(report.served_by["pod-1"], sent[0]);
}

#[test]
fn the_slowest_requests_are_listed_with_their_times_and_servers() {
    let counter = Counter::default();
    // The requests 20, 40 and 60 are slow: 300, 500 and 400 ms.
    let handler = move || async move {
        let (milliseconds, pod) = match counter.next() {
            20 => (300, "pod-a"),
            40 => (500, "pod-b"),
            60 => (400, "pod-c"),
            _ => (0, "pod-d"),
        };
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        let status = if milliseconds == 400 { 503 } else { 200 };
        (StatusCode::from_u16(status).unwrap(), [("x-served-by", pod)])
    };
    let address = support::serve(Router::new().route("/", get(handler)));
    let url = format!("http://{address}/");
    let mut plan = support::plan(&url, 40, Duration::from_secs(2));
    (plan.slowest, plan.threads) = (3, Some(2));
    let report = support::run_load(plan);
    let found: Vec<_> = report
        .slowest
        .iter()
        .map(|one| {
            (
                one.served_by.as_deref().unwrap(),
                one.status.unwrap(),
                one.failure,
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("pod-b", 200, None),
            ("pod-c", 503, Some(FailureKind::Status)),
            ("pod-a", 200, None)
        ]
    );
    for (request, due, latency) in [
        (&report.slowest[0], 1.0, 500.0),
        (&report.slowest[1], 1.5, 400.0),
        (&report.slowest[2], 0.5, 300.0),
    ] {
        assert!((request.due_seconds - due).abs() < 0.06, "{request:?}");
        let at = report.started_at + Duration::from_secs_f64(request.due_seconds);
        assert_eq!(request.due_at, at);
        assert_eq!(request.target, format!("GET {url}"));
        assert!(request.latency_ms >= latency - 1.0, "{request:?}");
        let response = request.response_ms.unwrap();
        assert!(response >= latency - 1.0, "{request:?}");
        let sum = request.lag_ms + request.wait_ms + response;
        assert!((sum - request.latency_ms).abs() < 0.01, "{request:?}");
    }
}

#[test]
fn two_threads_send_the_same_requests_as_one() {
    let address = support::serve(Router::new().route("/", get(|| async { "Hello there" })));
    let mut plan = support::plan(&format!("http://{address}/"), 997, Duration::from_millis(1500));
    plan.threads = Some(2);
    let total = plan.schedule.arrivals(Stripe::WHOLE).count() as u64;
    let report = support::run_load(plan);
    assert_eq!(
        (report.requests.scheduled, report.requests.succeeded),
        (total, total)
    );
    assert_eq!(report.plan.threads, 2);
    assert!(
        (report.rates.schedule_held - 1.0).abs() < 0.02,
        "{:?}",
        report.rates
    );
}

#[test]
fn the_latencies_of_a_period_are_those_of_its_seconds() {
    let counter = Counter::default();
    let server = counter.clone();
    // The first 20 requests, those of the first second, take 100 ms.
    let handler = move || async move {
        if server.next() < 20 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let address = support::serve(Router::new().route("/", get(handler)));
    let report = support::run_load(support::plan(
        &format!("http://{address}/"),
        20,
        Duration::from_secs(2),
    ));
    let (first, second) = (report.latency_between(0.0, 1.0), report.latency_between(1.0, 9.0));
    assert_eq!((first.count, second.count), (20, 20));
    assert!(
        first.p50.unwrap() >= 100.0 && second.p50.unwrap() < 100.0,
        "{first:?} {second:?}"
    );
    assert_eq!(report.latency_between(2.0, 9.0).count, 0);
}
