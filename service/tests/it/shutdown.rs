//! The order in which a server ends, and that it loses no request on the way.

use std::time::Duration;

use reqwest::{Client, StatusCode};
use service::server::DeadlineMissed;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::support::{PATIENCE, RawClient, TestServer, until};

async fn readyz(server: &TestServer) -> Result<StatusCode, reqwest::Error> {
    Client::new()
        .get(server.admin_url("/readyz"))
        .send()
        .await
        .map(|answer| answer.status())
}

async fn until_leaving(server: &TestServer) {
    let deadline = Instant::now() + PATIENCE;
    while readyz(server).await.unwrap() == StatusCode::OK {
        assert!(Instant::now() < deadline, "/readyz says 503");
    }
}

#[tokio::test]
async fn ready_then_leaving_then_closed_with_the_admin_listener_last() {
    let drain_delay = Duration::from_secs(3);
    let mut server = TestServer::start(&["--drain-delay=3s"]).await;
    let mut kept = RawClient::connect(server.address).await;
    let mut held = RawClient::connect(server.address).await;
    assert!(!kept.get("/ok").await.contains("connection: close"));
    held.send("GET /wait HTTP/1.1\r\nhost: test\r\n\r\n").await;
    server.until_in_flight(1).await;
    assert_eq!(readyz(&server).await.unwrap(), StatusCode::OK);

    let started = Instant::now();
    server.shut_down();
    until_leaving(&server).await;

    // During the drain delay, kept connections answer and are asked to go; new ones are served as well, which shows
    // that /readyz did not wait for the end of the delay.
    assert!(kept.get("/ok").await.contains("connection: close"));
    let mut fresh = RawClient::connect(server.address).await;
    let answer = fresh.get("/ok").await;
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close"),
        "{answer}"
    );

    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(server.address).await.is_ok() {
        assert!(Instant::now() < deadline, "accepting stops after the drain delay");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(
        started.elapsed() >= drain_delay,
        "not before: {:?}",
        started.elapsed()
    );
    assert_eq!(
        readyz(&server).await.unwrap(),
        StatusCode::SERVICE_UNAVAILABLE,
        "the admin listener still answers"
    );
    assert!(!server.has_ended(), "a request is still in flight");

    server.gate.add_permits(1);
    assert!(
        held.answer().await.ends_with("waited"),
        "what was in flight is answered"
    );
    until("the end", || server.has_ended()).await;
    assert!(readyz(&server).await.is_err(), "the admin listener ended last");
    server.ended().await.unwrap();
}

#[tokio::test]
async fn a_request_that_outlasts_the_deadline_is_cut_and_reported() {
    let mut server = TestServer::start(&["--drain-delay=0s", "--drain-deadline=200ms"]).await;
    let mut held = RawClient::connect(server.address).await;
    held.send("GET /wait HTTP/1.1\r\nhost: test\r\n\r\n").await;
    server.until_in_flight(1).await;
    server.shut_down();
    held.closed().await;
    let error = server.ended().await.unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&DeadlineMissed { connections: 1 }));
}

#[tokio::test]
async fn idle_connections_do_not_hold_up_the_end() {
    let mut server = TestServer::start(&["--drain-delay=0s", "--drain-deadline=10s"]).await;
    let mut idle = RawClient::connect(server.address).await;
    idle.get("/ok").await;
    let _silent = RawClient::connect(server.address).await;
    let started = Instant::now();
    server.shut_down();
    server.ended().await.expect("nothing was cut");
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_request_that_comes_as_draining_begins_is_answered() {
    let mut server = TestServer::start(&["--drain-delay=0s"]).await;
    let mut kept = RawClient::connect(server.address).await;
    kept.get("/ok").await;
    server.shut_down();
    until_leaving(&server).await;
    let answer = kept.get("/ok").await;
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close"),
        "{answer}"
    );
    server.ended().await.unwrap();
}

#[tokio::test]
async fn an_http2_client_loses_nothing_either() {
    let mut server = TestServer::start(&["--drain-delay=300ms"]).await;
    let client = Client::builder()
        .http2_prior_knowledge()
        .retry(reqwest::retry::never())
        .build()
        .unwrap();
    let held = tokio::spawn(client.get(server.url("/wait")).send());
    server.until_in_flight(1).await;
    server.shut_down();
    until_leaving(&server).await;
    server.gate.add_permits(1);
    assert_eq!(held.await.unwrap().unwrap().status(), StatusCode::OK);
    server.ended().await.unwrap();
}
