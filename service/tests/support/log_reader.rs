//! A reader of the log that goes away, or that stops reading, neither stops a service nor delays a response. The tests of
//! `app_a` and `app_b` include this file.

use std::io;

use rustix::process::Signal;
use wiring::exposition;

use super::process::Service;

/// Starts a service that logs each request in detail to the pipe.
async fn start(binary: &str, variables: &[(&str, &str)], pipe: &io::PipeWriter) -> Service {
    let common = [("LOG_FILTER", "trace"), ("DRAIN_DELAY", "0s")];
    Service::start_with_pipe(binary, &[&common, variables].concat(), pipe)
        .ready()
        .await
}

/// Sends requests until the log has lost lines. Expects a response to each, and a graceful shutdown.
async fn expect_only_lost_lines(service: Service) {
    let client = reqwest::Client::new();
    let mut dropped = 0.0;
    for _ in 0..100 {
        for _ in 0..20 {
            client.get(service.url("/")).send().await.expect("a response");
        }
        let text = service.metrics().await;
        dropped = exposition::value(&text, "log_lines_dropped_total").expect("the metric exists");
        if dropped > 0.0 {
            break;
        }
    }
    assert!(dropped > 0.0, "no line was dropped");
    service.signal(Signal::TERM);
    assert_eq!(service.output().await.status.code(), Some(0));
}

pub(crate) async fn a_closed_output_loses_only_lines(binary: &str, variables: &[(&str, &str)]) {
    let (reader, writer) = io::pipe().unwrap();
    let service = start(binary, variables, &writer).await;
    drop((reader, writer));
    expect_only_lost_lines(service).await;
}

pub(crate) async fn an_unread_output_loses_only_lines(binary: &str, variables: &[(&str, &str)]) {
    let (_unread, writer) = io::pipe().unwrap();
    let service = start(binary, variables, &writer).await;
    expect_only_lost_lines(service).await;
}
