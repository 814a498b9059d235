//! The connections of `app_a` to `app_b`, and how the calls are spread over them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::header::CONTENT_TYPE;
use axum::routing::post;
use tokio::net::TcpListener;

use super::support::start_app_a;

/// Sends 80 requests one after another. Returns the number of calls on each connection, in ascending order.
async fn calls_per_connection(flags: &[&str]) -> Vec<usize> {
    let calls: Arc<Mutex<HashMap<SocketAddr, usize>>> = Arc::default();
    let counted = Arc::clone(&calls);
    let auth = async move |ConnectInfo(peer): ConnectInfo<SocketAddr>| {
        *counted.lock().unwrap().entry(peer).or_default() += 1;
        ([(CONTENT_TYPE, "text/html")], "density")
    };
    let routes = Router::new().route("/auth", post(auth));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let idle_timeout = ["--app-b-pool-idle-timeout=1h"];
    let app_a = start_app_a(listener.local_addr().unwrap(), &[&idle_timeout, flags].concat());
    let routes = routes.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async { axum::serve(listener, routes).await });
    for _ in 0..80 {
        assert_eq!(app_a.put_jobs().await.status(), 200);
    }
    let mut counts: Vec<_> = calls.lock().unwrap().values().copied().collect();
    counts.sort_unstable();
    counts
}

#[tokio::test]
async fn sequential_calls_are_spread_evenly_over_eight_connections() {
    assert_eq!(calls_per_connection(&[]).await, [10; 8]);
}

#[tokio::test]
async fn the_number_of_connections_is_a_setting() {
    assert_eq!(
        calls_per_connection(&["--app-b-connections=5"]).await,
        [16; 5],
        "fewer"
    );
    let flags = ["--app-b-connections=5", "--app-b-pool-max-idle=5"];
    assert_eq!(
        calls_per_connection(&flags).await,
        [16; 5],
        "each pool keeps an idle connection"
    );
    assert_eq!(
        calls_per_connection(&["--app-b-pool-max-idle=0"]).await,
        [1; 80],
        "a connection for each call"
    );
}
