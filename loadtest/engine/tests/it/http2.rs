//! HTTP/2: many requests on few connections.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, extract::ConnectInfo, http::Version, routing::get};
use engine::{Mix, Protocol, Target};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};

use crate::support;

/// The latency of `/slow`.
const SLOW: Duration = Duration::from_secs(3);

#[test]
fn http2_multiplexes_requests_on_few_connections_and_replaces_old_connections() {
    type RequestsByPeer = Arc<Mutex<BTreeMap<SocketAddr, (u64, Version)>>>;
    let requests = RequestsByPeer::default();
    let server_requests = Arc::clone(&requests);
    let handler = move |ConnectInfo(peer): ConnectInfo<SocketAddr>, version: Version| async move {
        server_requests
            .lock()
            .unwrap()
            .entry(peer)
            .or_insert((0, version))
            .0 += 1;
        // With 100 ms, 200 requests per second are 20 concurrent requests.
        tokio::time::sleep(Duration::from_millis(100)).await;
        "Hello there"
    };
    let address = support::serve(Router::new().route("/", get(handler)));
    let url = format!("http://{address}/");
    let mut plan = support::plan(&url, 200, Duration::from_secs(2));
    let target = Target::new(http::Method::GET, &url).unwrap();
    let protocol = Protocol::Http2 { streams: 100 };
    plan.mix = Mix::new(vec![target], &[], &bytes::Bytes::new(), protocol).unwrap();
    (plan.connections, plan.max_connection_age) = (2, None);
    let report = support::run_load(plan.clone());
    assert_eq!((report.requests.succeeded, report.connections.opened), (400, 2));
    {
        let mut requests = requests.lock().unwrap();
        assert!(
            requests
                .values()
                .all(|(count, version)| *count == 200 && *version == Version::HTTP_2),
            "{requests:?}"
        );
        requests.clear();
    }
    plan.max_connection_age = Some(Duration::from_millis(500));
    let report = support::run_load(plan.clone());
    assert_eq!((report.requests.succeeded, report.requests.retries), (400, 0));
    let connections = requests.lock().unwrap().len();
    assert!(
        (6..=12).contains(&connections),
        "{connections} connections in two seconds"
    );

    // 2 connections with 2 streams of 100 ms each allow 40 requests per second. The other requests wait for a stream.
    let target = plan.mix.targets()[0].clone();
    let protocol = Protocol::Http2 { streams: 2 };
    plan.mix = Mix::new(vec![target], &[], &bytes::Bytes::new(), protocol).unwrap();
    let report = support::run_load(plan);
    let median = report.latency_ms.p50.unwrap();
    assert!(
        median > 1000.0,
        "{median} ms: a connection had more than two streams"
    );
}

fn slow_and_fast() -> Router {
    Router::new()
        .route("/slow", get(|| tokio::time::sleep(SLOW)))
        .route("/fast", get(|| async { "Hello there" }))
}

/// Sends 3 slow requests among 97 fast ones, and asserts that no fast request waited for a slow one.
fn assert_fast_requests_do_not_wait(address: SocketAddr, protocol: Protocol, connections: usize) {
    let targets = vec![
        format!("1 GET http://{address}/slow").parse().unwrap(),
        format!("49 GET http://{address}/fast").parse().unwrap(),
    ];
    let mut plan = support::plan(&format!("http://{address}/"), 50, Duration::from_secs(2));
    plan.mix = Mix::new(targets, &[], &bytes::Bytes::new(), protocol).unwrap();
    (plan.connections, plan.max_connection_age) = (connections, None);
    let report = support::run_load(plan);
    assert_eq!(report.requests.succeeded, 100, "{:?}", report.failure_examples);
    let [slow, fast] = [0, 1].map(|target| &report.targets[target]);
    assert_eq!(slow.counts.sent, 3);
    let max = fast.latency_ms.max.unwrap();
    assert!(max < 1000.0, "a fast request took {max} ms");
}

#[test]
fn requests_wait_for_the_first_free_stream_of_any_connection() {
    let address = support::serve(slow_and_fast());
    assert_fast_requests_do_not_wait(address, Protocol::Http2 { streams: 1 }, 4);
}

#[test]
fn requests_wait_for_the_first_free_http1_connection() {
    let address = support::serve(slow_and_fast());
    assert_fast_requests_do_not_wait(address, Protocol::Http1, 4);
}

#[test]
fn a_connection_has_at_most_the_streams_that_the_server_allows() {
    let address = support::serve_with(|listener| async move {
        loop {
            let (stream, _) = listener.accept().await?;
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .max_concurrent_streams(1)
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(slow_and_fast()));
            tokio::spawn(connection);
        }
    });
    assert_fast_requests_do_not_wait(address, Protocol::Http2 { streams: 100 }, 4);
}
