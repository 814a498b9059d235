//! What the binary reports: the metrics of the process, and the content of the log.

use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::{Client, Version};
use rustix::process::Signal;
use tokio::process::Command;
use tokio::time::Instant;
use wiring::exposition;

use super::log_reader;
use super::process::{Service, TEST_TIMEOUT, printed};
use super::support::start_app_b;

const APP_A: &str = env!("CARGO_BIN_EXE_app_a");

#[tokio::test]
async fn probes_and_scrapes_do_not_count_as_requests() {
    let service = Service::start(APP_A, &[]).ready().await;
    for _ in 0..30 {
        assert_eq!(service.readyz().await, Some(200));
        service.metrics().await;
    }
    let text = service.metrics().await;
    let version = env!("CARGO_PKG_VERSION");
    let build_info = format!(
        r#"build_info{{image_tag="unknown",revision="unknown",service="app_a",version="{version}"}}"#
    );
    assert_eq!(exposition::value(&text, &build_info), Some(1.0), "{text}");
    let known = r#"http_requests_total{method="GET",route="/hello",status="200"}"#;
    assert_eq!(exposition::value(&text, known), Some(0.0), "{text}");
    assert_eq!(exposition::sum(&text, "http_requests_total"), Ok(0.0), "{text}");
}

#[tokio::test]
async fn the_revision_and_the_tag_of_the_image_are_labels_of_build_info() {
    let variables = [("IMAGE_REVISION", "6f1ed00"), ("IMAGE_TAG", "d229ac6c71cb")];
    let service = Service::start(APP_A, &variables).ready().await;
    let text = service.metrics().await;
    let version = env!("CARGO_PKG_VERSION");
    let build_info = format!(
        r#"build_info{{image_tag="d229ac6c71cb",revision="6f1ed00",service="app_a",version="{version}"}}"#
    );
    assert_eq!(exposition::value(&text, &build_info), Some(1.0), "{text}");
}

#[tokio::test]
async fn the_process_metrics_describe_this_process() {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n 333 && exec {APP_A}")]);
    let before = SystemTime::now();
    let service = Service::start_with(command, &[]).ready().await;
    let value = async |name| {
        let text = service.metrics().await;
        exposition::value(&text, name).unwrap_or_else(|| panic!("{name}: {text}"))
    };
    assert_eq!(value("process_max_fds").await.to_bits(), 333_f64.to_bits());
    let open = value("process_open_fds").await;
    assert!(open > 5.0 && open < 333.0, "{open} open files");
    let resident = value("process_resident_memory_bytes").await;
    assert!(resident > 1e6, "{resident} bytes");
    // The kernel counts from the boot, in ticks, and the metric is in whole seconds. Hence the margin.
    let started = value("process_start_time_seconds").await;
    let expected = before.duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((started - expected).abs() < 5.0, "{started} and {expected}");
    // The metric is in whole seconds.
    let deadline = Instant::now() + TEST_TIMEOUT;
    while value("process_cpu_seconds_total").await < 1.0 {
        assert!(Instant::now() < deadline, "no CPU time is counted");
    }
}

#[tokio::test]
async fn the_log_level_can_be_changed_while_the_service_runs() {
    let service = Service::start(APP_A, &[("DRAIN_DELAY", "0s")]).ready().await;
    let client = Client::new();
    let level = async |filter: Option<&'static str>| {
        let url = service.admin_url("/log-level");
        let request = match filter {
            Some(filter) => client.put(url).body(filter),
            None => client.get(url),
        };
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let hello = async |id: &str| {
        let request = client.get(service.url("/hello")).header("x-request-id", id);
        assert_eq!(request.send().await.unwrap().status(), 200);
    };
    assert_eq!(level(None).await, (200, "info\n".to_owned()));
    hello("before").await;
    assert_eq!(
        level(Some("info,service=debug\n")).await,
        (200, "info,service=debug\n".to_owned())
    );
    assert_eq!(level(None).await, (200, "info,service=debug\n".to_owned()));
    hello("during").await;
    let (status, reason) = level(Some("service=loud")).await;
    assert_eq!(status, 400, "{reason}");
    assert!(
        reason.contains("service=loud") && reason.contains("such as info,app_a=debug"),
        "{reason}"
    );
    hello("still").await;
    assert_eq!(level(Some("info")).await.0, 200);
    hello("after").await;
    let text = service.metrics().await;
    assert_eq!(exposition::sum(&text, "http_requests_total"), Ok(4.0), "{text}");
    service.signal(Signal::TERM);
    let printed = printed(&service.output().await);
    for (id, is_logged) in [
        ("before", false),
        ("during", true),
        ("still", true),
        ("after", false),
    ] {
        let id = format!(r#""request.id":"{id}""#);
        assert_eq!(printed.contains(&id), is_logged, "{id}: {printed}");
    }
}

#[tokio::test]
async fn no_token_is_logged_at_any_level() {
    let app_b = format!("http://{}", start_app_b(&[]));
    let variables = [
        ("LOG_FILTER", "trace"),
        ("APP_B_URL", &app_b),
        ("DRAIN_DELAY", "0s"),
    ];
    let service = Service::start(APP_A, &variables).ready().await;
    let http2 = Client::builder().http2_prior_knowledge().build().unwrap();
    for (client, version) in [(Client::new(), Version::HTTP_11), (http2, Version::HTTP_2)] {
        for token in ["mytoken", "Bearer an-unknown-secret"] {
            let request = client.put(service.url("/jobs")).header("authorization", token);
            let response = request.header("x-request-id", "find-me").send().await.unwrap();
            assert_eq!(response.version(), version);
        }
    }
    service.signal(Signal::TERM);
    let printed = printed(&service.output().await);
    assert!(
        printed.contains("find-me"),
        "no access log at this level: {printed}"
    );
    for secret in ["mytoken", "an-unknown-secret"] {
        let line = printed.lines().find(|line| line.contains(secret));
        assert_eq!(line, None);
    }
}

#[tokio::test]
async fn a_failure_is_logged_once_with_its_cause_and_its_request_id() {
    let variables = [("APP_B_URL", "http://127.0.0.1:1"), ("DRAIN_DELAY", "0s")];
    let service = Service::start(APP_A, &variables).ready().await;
    let request = Client::new()
        .put(service.url("/jobs"))
        .header("authorization", "mytoken");
    request.header("x-request-id", "find-me").send().await.unwrap();
    service.signal(Signal::TERM);
    let printed = printed(&service.output().await);
    let lines: Vec<serde_json::Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect();
    let failures: Vec<_> = lines
        .iter()
        .filter(|line| line["request.id"] == "find-me")
        .collect();
    assert_eq!(failures.len(), 1, "{printed}");
    assert_eq!(failures[0]["level"], "WARN");
    assert_eq!(failures[0]["http.status"], 502);
    assert!(
        failures[0]["error"].as_str().unwrap().contains("refused"),
        "{printed}"
    );
}

#[tokio::test]
async fn a_closed_output_loses_only_lines_of_the_log() {
    log_reader::a_closed_output_loses_only_lines(APP_A, &[]).await;
}

#[tokio::test]
async fn an_unread_output_loses_only_lines_of_the_log() {
    log_reader::an_unread_output_loses_only_lines(APP_A, &[]).await;
}
