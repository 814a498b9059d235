//! The use of connections: round-robin, with a limited age and number, and without hidden retries.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, extract::ConnectInfo, routing::get};
use engine::FailureKind;

use crate::support;

type RequestsByPeer = Arc<Mutex<BTreeMap<SocketAddr, u64>>>;

/// Starts a server that counts the requests per connection.
fn counting_server() -> (String, RequestsByPeer) {
    let requests = RequestsByPeer::default();
    let server_requests = Arc::clone(&requests);
    let handler = move |ConnectInfo(peer): ConnectInfo<SocketAddr>| async move {
        *server_requests.lock().unwrap().entry(peer).or_default() += 1;
        "Hello there"
    };
    let address = support::serve(Router::new().route("/", get(handler)));
    (format!("http://{address}/"), requests)
}

#[test]
fn connections_are_used_round_robin_and_their_number_is_limited() {
    let (url, requests) = counting_server();
    let mut plan = support::plan(&url, 400, Duration::from_secs(1));
    (plan.connections, plan.max_connection_age) = (10, None);
    let report = support::run_load(plan);
    assert_eq!((report.requests.succeeded, report.connections.opened), (400, 10));
    let requests = requests.lock().unwrap();
    assert_eq!(requests.len(), 10);
    assert!(
        requests.values().all(|count| (30..=50).contains(count)),
        "the connections do not have equal shares: {requests:?}"
    );
}

#[test]
fn old_connections_are_replaced_so_that_new_pods_get_traffic() {
    let (url, requests) = counting_server();
    let mut plan = support::plan(&url, 200, Duration::from_secs(2));
    (plan.connections, plan.max_connection_age) = (10, Some(Duration::from_millis(500)));
    let report = support::run_load(plan);
    assert_eq!((report.requests.succeeded, report.requests.retries), (400, 0));
    let connections = requests.lock().unwrap().len();
    assert!(
        (30..=60).contains(&connections),
        "{connections} connections in two seconds, each open for about half a second"
    );
}

#[test]
fn a_connection_closed_while_idle_is_replaced_without_a_failure() {
    // The server closes each connection after its first response, without a `connection: close` header.
    let address = support::respond_once_and_close();
    // 40 ms between two requests, because the connection must be idle when it closes.
    let mut plan = support::plan(&format!("http://{address}/"), 25, Duration::from_secs(2));
    plan.connections = 1;
    let report = support::run_load(plan);
    assert_eq!(report.requests.failed, 0, "{:?}", report.failure_examples);
    assert!(
        report.connections.opened >= 50,
        "{} connections opened for 50 requests",
        report.connections.opened
    );
}

#[test]
fn a_written_request_is_never_sent_twice() {
    // The server reads the second request of a connection and closes the connection without a response.
    let (address, received) = support::respond_to_every_other_request();
    let mut plan = support::plan(&format!("http://{address}/"), 100, Duration::from_secs(1));
    plan.connections = 1;
    let report = support::run_load(plan);
    assert_eq!(report.failures[&FailureKind::Reset], 50, "{:?}", report.failures);
    assert_eq!(
        (report.requests.sent, received.get()),
        (100, 100),
        "the server received each request once"
    );
}

#[test]
fn waiting_for_a_connection_is_part_of_the_latency() {
    let address = support::serve(Router::new().route(
        "/",
        get(|| async { tokio::time::sleep(Duration::from_millis(50)).await }),
    ));
    // One connection allows 20 requests/s. At 40 requests/s, the last request waits for about a second.
    let mut plan = support::plan(&format!("http://{address}/"), 40, Duration::from_secs(1));
    plan.connections = 1;
    let report = support::run_load(plan);
    let (max_latency, max_wait) = (
        report.latency_ms.max.unwrap(),
        report.connections.wait_ms.max.unwrap(),
    );
    assert!((950.0..1400.0).contains(&max_latency), "{max_latency} ms");
    assert!(max_wait > 900.0, "{max_wait} ms");
    assert!(
        report.lag_ms.p99.unwrap() < 100.0,
        "the generator itself was late: {:?}",
        report.lag_ms
    );
}
