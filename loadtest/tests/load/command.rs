//! The program as it is called: exit codes, reports, signals.

use std::{
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use axum::{Router, http::StatusCode, routing::get};
use rustix::process::Signal;

use crate::support;

fn loadtest(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(arguments)
        .output()
        .unwrap()
}

/// The program under load, seen to be so, and the rest of what it says.
fn under_way(arguments: &[&str]) -> (Child, support::Lines) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut progress = support::Lines::of(child.stderr.take().unwrap());
    progress.wait_for("in flight");
    (child, progress)
}

fn hello() -> String {
    format!(
        "http://{}/hello",
        support::serve(Router::new().route("/hello", get(|| async { "Hello there" })))
    )
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_good_run_ends_with_0_and_a_report() {
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
fn too_many_failures_end_with_99() {
    let address =
        support::serve(Router::new().route("/", get(|| async { StatusCode::INTERNAL_SERVER_ERROR })));
    let url = format!("http://{address}/");
    let output = loadtest(&["run", &url, "--rate", "50", "--duration", "500ms", "--json"]);
    assert_eq!(output.status.code(), Some(99), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
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
fn a_generator_that_was_stopped_itself_ends_with_106_and_says_so() {
    let url = hello();
    let (child, _progress) = under_way(&["run", &url, "-q", "200", "-z", "5s"]);
    support::signal(&child, Signal::STOP);
    support::stop(Duration::from_secs(2));
    support::signal(&child, Signal::CONT);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(106), "{output:?}");
    assert!(text.starts_with("INVALID") && text.contains("lag"), "{text}");
    assert!(
        text.contains("1000 due, 1000 sent, 1000 succeeded"),
        "late is not lost: {text}"
    );
}

#[test]
fn mistakes_end_with_104_before_any_load() {
    let url = hello();
    let nobody = format!("http://{}/", support::nobody());
    let missing = "/no/such/folder/report.json";
    for (arguments, says) in [
        (vec!["run", &url, "-q", "0", "-z", "1s"], "above 0"),
        (vec!["run", &url, "-q", "10", "-z", "0s"], "above 0"),
        (vec!["run", "hello", "-q", "10", "-z", "1s"], "http://HOST"),
        (vec!["run", "https://localhost/", "-q", "10", "-z", "1s"], "TLS"),
        (vec!["run", &nobody, "-q", "10", "-z", "1s"], "cannot be reached"),
        (
            vec!["run", "http://no-such-host.invalid/", "-q", "10", "-z", "1s"],
            "cannot be reached",
        ),
        (
            vec!["run", &url, "-q", "10", "-z", "1s", "-o", missing],
            "cannot be written",
        ),
        (
            vec!["run", &url, "-q", "10", "-z", "1s", "-H", "no colon"],
            "Name: value",
        ),
        (vec!["run", &url, "-q", "10"], "--duration"),
        (vec!["run", "-q", "10", "-z", "1s"], "<URL>"),
        (vec!["walk"], "walk"),
    ] {
        let output = loadtest(&arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(104), "{arguments:?}: {text}");
        assert!(text.contains(says), "{arguments:?} does not say {says:?}: {text}");
    }
    assert_eq!(loadtest(&["--help"]).status.code(), Some(0));
}

#[test]
fn a_first_signal_writes_the_report_and_a_second_stops_at_once() {
    let address = support::serve(Router::new().route("/", get(std::future::pending::<()>)));
    let url = format!("http://{address}/");
    let run = |timeout: &str| {
        let (child, mut progress) =
            under_way(&["run", &url, "-q", "20", "-z", "60s", "-t", timeout, "--json"]);
        support::signal(&child, Signal::TERM);
        progress.wait_for("stopping");
        (child, progress)
    };
    let (child, progress) = run("2s");
    let output = child.wait_with_output().unwrap();
    drop(progress);
    assert_eq!(output.status.code(), Some(105));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["verdict"]["outcome"], "interrupted");
    assert!(
        report["failures"]["timeout"].as_u64().unwrap() >= 10,
        "{}",
        report["failures"]
    );

    let (child, _progress) = run("1h");
    let asked = Instant::now();
    support::signal(&child, Signal::INT);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(105), 0));
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "took {:?}",
        asked.elapsed()
    );
}
