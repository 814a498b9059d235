//! A reader of the log that goes away, or that stops reading, neither stops the service nor delays a response.

use std::io;

use rustix::process::Signal;
use wiring::exposition;

use super::process::Service;

const APP_A: &str = env!("CARGO_BIN_EXE_app_a");

/// `app_a` logs each request in detail to the pipe.
async fn start(pipe: &io::PipeWriter) -> Service {
    let variables = [("LOG_FILTER", "trace"), ("DRAIN_DELAY", "0s")];
    Service::start_with_pipe(APP_A, &variables, pipe).ready().await
}

/// Sends requests until the log has lost lines. Expects a response to each, and a graceful shutdown.
async fn loses_only_lines_of_the_log(service: Service) {
    let client = reqwest::Client::new();
    let mut dropped = 0.0;
    for _ in 0..2000 {
        let response = client.get(service.url("/hello")).send().await.unwrap();
        assert_eq!(response.status(), 200);
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

#[tokio::test]
async fn a_closed_output_loses_lines_and_no_request() {
    let (reader, writer) = io::pipe().unwrap();
    let service = start(&writer).await;
    drop((reader, writer));
    loses_only_lines_of_the_log(service).await;
}

#[tokio::test]
async fn an_output_that_is_not_read_loses_lines_and_no_request() {
    let (_unread, writer) = io::pipe().unwrap();
    let service = start(&writer).await;
    loses_only_lines_of_the_log(service).await;
}
