//! How connections are used: in turn, for a limited time, in a limited number, and never with a hidden second try.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, extract::ConnectInfo, routing::get};
use engine::FailureKind;

use crate::support;

type Requests = Arc<Mutex<BTreeMap<SocketAddr, u64>>>;

/// A server that counts requests by connection.
fn counting() -> (String, Requests) {
    let requests = Requests::default();
    let counted = Arc::clone(&requests);
    let handler = move |ConnectInfo(peer): ConnectInfo<SocketAddr>| async move {
        *counted.lock().unwrap().entry(peer).or_default() += 1;
        "Hello there"
    };
    let address = support::serve(Router::new().route("/", get(handler)));
    (format!("http://{address}/"), requests)
}

#[test]
fn connections_are_used_in_turn_and_no_more_than_allowed() {
    let (url, requests) = counting();
    let mut plan = support::plan(&url, 400, Duration::from_secs(1));
    (plan.connections, plan.max_connection_age) = (10, None);
    let report = support::drive(plan);
    assert_eq!((report.requests.succeeded, report.connections.opened), (400, 10));
    let requests = requests.lock().unwrap();
    assert_eq!(requests.len(), 10);
    assert!(
        requests.values().all(|count| (30..=50).contains(count)),
        "one connection has more than its share: {requests:?}"
    );
}

#[test]
fn old_connections_are_replaced_so_that_new_pods_get_traffic() {
    let (url, requests) = counting();
    let mut plan = support::plan(&url, 200, Duration::from_secs(2));
    (plan.connections, plan.max_connection_age) = (10, Some(Duration::from_millis(500)));
    let report = support::drive(plan);
    assert_eq!((report.requests.succeeded, report.requests.retries), (400, 0));
    let connections = requests.lock().unwrap().len();
    assert!(
        (30..=60).contains(&connections),
        "{connections} connections in two seconds, of about half a second each"
    );
}

#[test]
fn a_connection_closed_while_idle_is_no_failure_and_no_secret() {
    // Closes each connection right after its first answer, without saying so.
    let address = support::answer_once_and_close();
    let mut plan = support::plan(&format!("http://{address}/"), 100, Duration::from_secs(1));
    plan.connections = 1;
    let report = support::drive(plan);
    assert_eq!(report.requests.failed, 0, "{:?}", report.failure_examples);
    assert!(
        report.connections.opened >= 100,
        "{} opened for 100 requests",
        report.connections.opened
    );
}

#[test]
fn a_request_that_was_written_is_never_sent_twice() {
    // Reads a second request and closes in place of an answer.
    let (address, received) = support::answer_every_other();
    let mut plan = support::plan(&format!("http://{address}/"), 100, Duration::from_secs(1));
    plan.connections = 1;
    let report = support::drive(plan);
    assert_eq!(report.failures[&FailureKind::Reset], 50, "{:?}", report.failures);
    assert_eq!(
        (report.requests.sent, received.get()),
        (100, 100),
        "the server saw each request once"
    );
}

#[test]
fn waiting_for_a_connection_is_part_of_the_latency() {
    let address = support::serve(Router::new().route(
        "/",
        get(|| async { tokio::time::sleep(Duration::from_millis(50)).await }),
    ));
    // One connection carries 20 requests/s; at 40 the last of a second waits for about a second.
    let mut plan = support::plan(&format!("http://{address}/"), 40, Duration::from_secs(1));
    plan.connections = 1;
    let report = support::drive(plan);
    let (longest, waited) = (
        report.latency_ms.max.unwrap(),
        report.connections.wait_ms.max.unwrap(),
    );
    assert!((950.0..1400.0).contains(&longest), "{longest} ms");
    assert!(waited > 900.0, "{waited} ms");
    assert!(
        report.lag_ms.p99.unwrap() < 100.0,
        "the generator itself was in time: {:?}",
        report.lag_ms
    );
}
