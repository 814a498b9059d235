//! `loadtest capacity` as a process, against servers with a known capacity.

use std::{
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, routing::get};
use rustix::process::Signal;
use tokio::sync::Semaphore;

use crate::{
    process::{self, loadtest},
    schema, support,
};

/// The number of requests that the server handles at once, and the time that it takes for each of them.
const PERMITS: usize = 20;
const SERVICE_TIME: Duration = Duration::from_millis(100);

/// Starts a server with a capacity of 200 requests per second, and returns its URL.
fn server_with_known_capacity() -> String {
    let permits = Arc::new(Semaphore::new(PERMITS));
    let answer = move || async move {
        let _permit = permits.acquire().await.unwrap();
        tokio::time::sleep(SERVICE_TIME).await;
        "Hello there"
    };
    let router = Router::new().route("/", get(answer));
    format!("http://{}/", support::serve(router))
}

#[test]
fn the_known_capacity_of_a_server_is_found() {
    let url = server_with_known_capacity();
    let file = tempfile::NamedTempFile::new().unwrap();
    // In one step, the wait grows to 100 ms only if the rate is at least 5 % above the capacity.
    let output = loadtest(&[
        "capacity",
        &url,
        "--threshold",
        "p(99)<200",
        "--step",
        "2s",
        "--max-lag",
        "1s",
        "-o",
        file.path().to_str().unwrap(),
    ]);
    let (text, progress) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = schema::report(&std::fs::read(file.path()).unwrap());
    let rate = report["rate"].as_u64().unwrap();
    assert!((170..=215).contains(&rate), "{text}");
    assert!(
        text.starts_with(&format!("CAPACITY: {rate} requests/s\n")),
        "{text}"
    );
    assert_eq!(report["end"], "found", "{report}");
    let steps = report["steps"].as_array().unwrap();
    assert_eq!(
        progress.lines().filter(|line| line.starts_with("step ")).count(),
        steps.len(),
        "{progress}"
    );
    assert!(
        progress.starts_with("step  1:     100 requests/s held"),
        "{progress}"
    );
    let missed = report["missed_rate"].as_u64().unwrap();
    assert!(missed > rate && missed * 100 <= rate * 107, "{rate} and {missed}");
    let missed_steps = steps.iter().filter(|step| step["rate"] == missed);
    assert!(
        missed_steps.clone().count() >= 2,
        "a miss counts only twice: {text}"
    );
    assert!(
        missed_steps
            .clone()
            .all(|step| step["reasons"][0].as_str().unwrap().contains("p(99)<200"))
    );
}

#[test]
fn a_search_is_limited_by_rate_steps_and_time() {
    let url = server_with_known_capacity();
    let run = |flags: &[&str]| {
        let output = loadtest(
            &[
                &["capacity", &url, "--step", "500ms", "--max-lag", "1s", "--json"],
                flags,
            ]
            .concat(),
        );
        let report = schema::report(&output.stdout);
        let steps = report["steps"].as_array().unwrap().len();
        (
            output.status.code(),
            report["rate"].as_u64(),
            report["end"].as_str().unwrap().to_owned(),
            steps,
        )
    };
    let end = |end: &str| end.to_owned();
    let holds = ["--threshold", "p(99)<5s", "--from", "10"];
    assert_eq!(
        run(&[&holds[..], &["--up-to", "30"]].concat()),
        (Some(0), Some(30), end("highest_rate"), 3)
    );
    assert_eq!(
        run(&[&holds[..], &["--max-steps", "2"]].concat()),
        (Some(0), Some(20), end("max_steps"), 2)
    );
    let (code, rate, ended, steps) = run(&[&holds[..], &["--max-time", "1s"]].concat());
    assert_eq!(
        (code, rate, ended.as_str(), steps),
        (Some(0), Some(10), "max_time", 1)
    );
    // Each request takes 100 ms.
    assert_eq!(
        run(&["--threshold", "p(99)<50", "--from", "2"]),
        (Some(99), None, end("lowest_rate"), 4)
    );
}

#[test]
fn a_signal_ends_a_search_with_105_and_the_steps_so_far() {
    let url = server_with_known_capacity();
    let mut child = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args([
            "capacity",
            &url,
            "--threshold",
            "p(99)<5s",
            "--step",
            "1s",
            "--from",
            "10",
            "--json",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    process::Lines::of(child.stderr.take().unwrap()).wait_for("step  1");
    let signalled = Instant::now();
    process::signal(&child, Signal::TERM);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(105));
    assert!(signalled.elapsed() < Duration::from_secs(10));
    let report = schema::report(&output.stdout);
    assert_eq!(
        (report["end"].as_str(), report["rate"].as_u64()),
        (Some("interrupted"), Some(10))
    );
}

#[test]
fn a_search_without_a_bound_for_the_latency_or_with_unsuitable_flags_is_rejected() {
    for (flags, message) in [
        (&[][..], "--threshold"),
        (&["--threshold", "failed<1%"], "no --threshold limits the latency"),
        (&["--threshold", "p(99){path:/other}<5"], "matches no target"),
        (
            &["--threshold", "p(99)<5", "--max-time", "1s"],
            "shorter than one --step",
        ),
        (
            &["--threshold", "p(99)<5", "--from", "0"],
            "0 is not in 1..=1000000",
        ),
        (
            &["--threshold", "p(99)<5", "--warm-up", "1s"],
            "unexpected argument '--warm-up'",
        ),
    ] {
        let output = loadtest(&[&["capacity", "http://127.0.0.1:1/"], flags].concat());
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(104), "{flags:?}: {text}");
        assert!(text.contains(message), "{message:?} is missing in: {text}");
    }
}
