//! Many requests on few connections.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, extract::ConnectInfo, http::Version, routing::get};
use engine::{Mix, Protocol, Target};

use crate::support;

#[test]
fn http2_carries_many_requests_on_few_connections_and_replaces_them_with_age() {
    type Seen = Arc<Mutex<BTreeMap<SocketAddr, (u64, Version)>>>;
    let seen = Seen::default();
    let by_connection = Arc::clone(&seen);
    let handler = move |ConnectInfo(peer): ConnectInfo<SocketAddr>, version: Version| async move {
        by_connection
            .lock()
            .unwrap()
            .entry(peer)
            .or_insert((0, version))
            .0 += 1;
        // So long that 200 a second are 20 at a time.
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
    let report = support::drive(plan.clone());
    assert_eq!((report.requests.succeeded, report.connections.opened), (400, 2));
    {
        let mut seen = seen.lock().unwrap();
        assert!(
            seen.values()
                .all(|(count, version)| *count == 200 && *version == Version::HTTP_2),
            "{seen:?}"
        );
        seen.clear();
    }
    plan.max_connection_age = Some(Duration::from_millis(500));
    let report = support::drive(plan.clone());
    assert_eq!((report.requests.succeeded, report.requests.retries), (400, 0));
    let connections = seen.lock().unwrap().len();
    assert!((6..=12).contains(&connections), "{connections} in two seconds");

    // 2 connections of 2 streams of 100 ms each are 40 requests a second: the rest waits for one, and is late.
    let target = plan.mix.targets()[0].clone();
    let protocol = Protocol::Http2 { streams: 2 };
    plan.mix = Mix::new(vec![target], &[], &bytes::Bytes::new(), protocol).unwrap();
    let report = support::drive(plan);
    let median = report.latency_ms.p50.unwrap();
    assert!(median > 1000.0, "{median} ms: more than two at a time");
}
