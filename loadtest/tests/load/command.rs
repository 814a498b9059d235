//! `loadtest run` as a process: exit codes and signals.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use axum::{Router, http::StatusCode, routing::get};
use rustix::process::Signal;

use crate::{
    process::{self, loadtest},
    schema, support,
};

/// Starts the program and waits until it reports progress. Also returns its remaining output lines.
fn start_and_wait_for_load(arguments: &[&str]) -> (Child, process::Lines) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut progress = process::Lines::of(child.stderr.take().unwrap());
    progress.wait_for("in flight");
    (child, progress)
}

/// Starts a server and returns the URL of its `/hello` page.
pub(crate) fn hello() -> String {
    format!(
        "http://{}/hello",
        support::serve(Router::new().route("/hello", get(|| async { "Hello there" })))
    )
}

/// Reads a JSON report, and checks it against its schema.
pub(crate) fn json(path: &Path) -> serde_json::Value {
    schema::report(&std::fs::read(path).unwrap())
}

#[test]
fn a_closed_standard_error_loses_only_the_progress() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args([
            "run",
            &hello(),
            "--rate",
            "50",
            "-z",
            "2s",
            "--json",
            process::MAX_LAG,
        ])
        .stdout(Stdio::piped())
        .stderr(writer)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = schema::report(&output.stdout);
    assert_eq!(report["requests"]["succeeded"], 100, "{report}");
}

#[test]
fn a_passed_run_exits_with_0_and_replaces_the_report_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "x".repeat(100_000)).unwrap();
    let path = file.path().to_str().unwrap();
    let output = loadtest(&[
        "run",
        &hello(),
        "--rate",
        "100/1s",
        "-z",
        "1s",
        "--expect-body",
        "Hello",
        "-o",
        path,
    ]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text.starts_with("PASSED") && text.contains("p99.9"), "{text}");
    let report = json(file.path());
    assert_eq!(
        (&report["schema"], &report["requests"]["succeeded"]),
        (&"loadtest.run/v1".into(), &100.into())
    );
    assert_eq!(report["verdict"]["outcome"], "passed");
}

#[test]
fn too_many_failures_exit_with_99() {
    let address =
        support::serve(Router::new().route("/", get(|| async { StatusCode::INTERNAL_SERVER_ERROR })));
    let url = format!("http://{address}/");
    let output = loadtest(&["run", &url, "--rate", "50", "--duration", "500ms", "--json"]);
    assert_eq!(output.status.code(), Some(99), "{output:?}");
    let report = schema::report(&output.stdout);
    assert_eq!(
        (&report["failures"]["status"], &report["statuses"]["500"]),
        (&25.into(), &25.into())
    );
    let output = loadtest(&[
        "run",
        &url,
        "--rate",
        "50",
        "--duration",
        "500ms",
        "--max-failed",
        "100%",
    ]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn a_paused_generator_exits_with_106_and_reports_its_lag() {
    let url = hello();
    let (child, _progress) = start_and_wait_for_load(&["run", &url, "-q", "200", "-z", "5s"]);
    process::signal(&child, Signal::STOP);
    process::wait_while_stopped(Duration::from_secs(2));
    process::signal(&child, Signal::CONT);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(106), "{output:?}");
    assert!(text.starts_with("INVALID") && text.contains("lag"), "{text}");
    assert!(
        text.contains("1000 due, 1000 sent, 1000 succeeded"),
        "the generator must send late requests: {text}"
    );
}

#[test]
fn configuration_errors_exit_with_104_before_the_load() {
    let url = hello();
    let unreachable = format!("http://{}/", process::unused_address());
    let missing = "/no/such/folder/report.json";
    for (arguments, message) in [
        (vec!["run", &url, "-q", "0", "-z", "1s"], "above 0"),
        (vec!["run", &url, "-q", "10", "-z", "0s"], "above 0"),
        (vec!["run", "hello", "-q", "10", "-z", "1s"], "http://HOST"),
        (
            vec!["run", &unreachable, "-q", "10", "-z", "1s"],
            "cannot be reached",
        ),
        (
            vec!["run", "http://no-such-host.invalid/", "-q", "10", "-z", "1s"],
            "cannot be reached",
        ),
        (
            vec!["run", &url, "-q", "10", "-z", "1s", "-o", missing],
            "cannot be written",
        ),
        (
            vec!["run", &url, "-q", "10", "-z", "1s", "--junit", missing],
            "cannot be written",
        ),
        (
            vec!["run", &url, "-q", "10", "-z", "1s", "-H", "no colon"],
            "Name: value",
        ),
        (vec!["run", &url, "-q", "10"], "--duration"),
        (vec!["run", &url], "--rate"),
        (vec!["run", &url, "--stage", "500"], "DURATION:RATE"),
        (vec!["run", &url, "--stage", ":500"], "DURATION"),
        (vec!["run", &url, "--stage", "10s:0"], "contains no request"),
        (vec!["run", &url, "--stage", "0s:10"], "contains no request"),
        (vec!["run", &url, "-q", "1", "-z", "200h"], "at most 7 days"),
        (
            vec!["run", &url, "-q", "1", "-z", "1h", "--warm-up", "168h"],
            "with its warm-up",
        ),
        (
            vec!["run", &url, "-q", "1", "-z", "5s", "--spike", "4s:2s:10"],
            "a spike ends at 6 s",
        ),
        (vec!["run", &url, "--trace", "/no/such/trace"], "/no/such/trace"),
        (vec!["run", &url, "--trace", "/proc/version"], "no line"),
        (
            vec!["run", &url, "-q", "1", "-z", "1s", "--threshold", "fast"],
            "contains no comparison",
        ),
        (vec!["run", "-q", "10", "-z", "1s"], "<URL>"),
        (vec!["walk"], "walk"),
    ] {
        let output = loadtest(&arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(104), "{arguments:?}: {text}");
        assert!(
            text.contains(message),
            "{arguments:?}: {message:?} is missing in: {text}"
        );
    }
    assert_eq!(loadtest(&["--help"]).status.code(), Some(0));
}

#[test]
fn the_first_signal_writes_the_report_and_the_second_stops_immediately() {
    let address = support::serve(Router::new().route("/", get(std::future::pending::<()>)));
    let url = format!("http://{address}/");
    let run = |timeout: &str| {
        let (child, mut progress) =
            start_and_wait_for_load(&["run", &url, "-q", "20", "-z", "60s", "-t", timeout, "--json"]);
        process::signal(&child, Signal::TERM);
        progress.wait_for("stopping");
        (child, progress)
    };
    let (child, progress) = run("2s");
    let output = child.wait_with_output().unwrap();
    drop(progress);
    assert_eq!(output.status.code(), Some(105));
    let report = schema::report(&output.stdout);
    assert_eq!(report["verdict"]["outcome"], "interrupted");
    assert!(
        report["failures"]["timeout"].as_u64().unwrap() >= 10,
        "{}",
        report["failures"]
    );

    let (child, _progress) = run("1h");
    let signalled = Instant::now();
    process::signal(&child, Signal::INT);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(105), 0));
    assert!(
        signalled.elapsed() < Duration::from_secs(5),
        "took {:?}",
        signalled.elapsed()
    );
}
