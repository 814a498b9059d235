//! The bounds of a run: thresholds, and the early end at a broken one.

use std::{
    path::Path,
    process::Output,
    time::{Duration, Instant},
};

use axum::{Router, http::StatusCode, routing::get};

use crate::{
    command::{hello, json},
    process::loadtest,
    schema, support,
};

/// Runs a load with these flags, which are separated by spaces, and with thresholds.
fn run(url: &str, flags: &str, thresholds: &[&str]) -> Output {
    let flags: Vec<&str> = flags.split(' ').collect();
    loadtest(
        &[
            &["run", url, "--max-lag", "1s"],
            &flags[..],
            &["--threshold"],
            thresholds,
        ]
        .concat(),
    )
}

#[test]
fn a_broken_threshold_exits_with_99() {
    let url = hello();
    let run = |thresholds: &[&str]| run(&url, "-q 100 -z 1s --json", thresholds);
    let output = run(&["p(99)<5s", "mean<=5s", "rate>50", "failed<0.1%", "dropped<1"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let output = run(&["p(99)<5s", "rate>1000"]);
    assert_eq!(output.status.code(), Some(99), "{output:?}");
    let report = schema::report(&output.stdout);
    let thresholds = &report["verdict"]["thresholds"];
    assert_eq!(
        (&thresholds[0]["holds"], &thresholds[1]["holds"]),
        (&true.into(), &false.into()),
        "{thresholds}"
    );
    let observed = thresholds[1]["observed"].as_f64().unwrap();
    assert!((95.0..=101.0).contains(&observed), "{observed} requests/s");
    let reason = report["verdict"]["reasons"][0].as_str().unwrap();
    assert!(reason.contains("rate>1000"), "{reason}");
}

#[test]
fn a_threshold_on_failed_replaces_the_default_bound_of_0_failures() {
    let address =
        support::serve(Router::new().route("/", get(|| async { StatusCode::INTERNAL_SERVER_ERROR })));
    let url = format!("http://{address}/");
    let code = |more: &[&str]| run(&url, "-q 50 -z 500ms", more).status.code();
    assert_eq!(code(&["failed<=100%"]), Some(0));
    assert_eq!(code(&["failed<50%"]), Some(99));
    assert_eq!(code(&["rate>=0"]), Some(99), "by default no request may fail");
    let both = ["failed<=100%", "--max-failed", "3"];
    assert_eq!(code(&both), Some(99), "an explicit --max-failed still applies");
}

/// Starts a server whose path `/slow` answers after 400 ms and whose other paths answer at once. Returns its URL.
fn two_speeds() -> String {
    let slow = || async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        "Hello there"
    };
    let router = Router::new()
        .route("/slow", get(slow))
        .route("/fast", get(|| async { "Hello there" }));
    format!("http://{}", support::serve(router))
}

#[test]
fn dropped_arrivals_are_named_and_count_in_percentiles_although_the_run_passes() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (file, html, markdown) = (path("run.json"), path("run.html"), path("summary.md"));
    let url = format!("{}/slow", two_speeds());
    // The 5 requests in flight last 400 ms, so of 50 arrivals in 1 s about 15 are sent.
    let flags = format!("-q 50 -z 1s --max-in-flight 5 -t 2s -o {file} --html {html} --markdown {markdown}");
    let output = run(&url, &flags, &["failed<=100%"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let warning = "of 50 arrivals were dropped";
    assert!(
        text.starts_with("PASSED\n  ! ") && text.contains(warning),
        "{text}"
    );
    let report = json(Path::new(&file));
    assert!(
        report["verdict"]["warnings"][0]
            .as_str()
            .unwrap()
            .contains(warning),
        "{report}"
    );
    assert_eq!(report["latency_ms"]["count"], 50, "{report}");
    let slowest = &report["slowest"][0];
    assert_eq!(slowest["failure"], "dropped", "{slowest}");
    let (listed, max) = (&slowest["latency_ms"], &report["latency_ms"]["max"]);
    let ratio = listed.as_f64().unwrap() / max.as_f64().unwrap();
    assert!(
        (ratio - 1.0).abs() < 1e-3,
        "the slowest of the list took {listed} ms, of the percentiles {max} ms"
    );
    assert!(text.contains("response - ms; counts with the timeout"), "{text}");
    for file in [&html, &markdown] {
        let page = std::fs::read_to_string(file).unwrap();
        assert!(page.contains(warning), "{page}");
    }
    let output = run(&url, &flags, &["failed<=100%", "p(90)<1s"]);
    assert_eq!(
        output.status.code(),
        Some(99),
        "the requests that were sent took 400 ms: {output:?}"
    );
}

#[test]
fn a_threshold_can_apply_to_one_target() {
    let url = two_speeds();
    let (slow, fast) = (format!("1 GET {url}/slow"), format!("1 GET {url}/fast"));
    let run = |thresholds: &[&str]| {
        let targets = ["run", "--target", &slow, "--target", &fast];
        let flags = ["-q", "50", "-z", "1s", "--max-lag", "1s", "--json", "--threshold"];
        loadtest(&[&targets, &flags[..], thresholds].concat())
    };
    let output = run(&["med{path:/fast}<350", "min_is_no_metric<1"]);
    assert_eq!(output.status.code(), Some(104), "{output:?}");
    let holding = [
        "med{path:/fast}<350",
        "p(90){method:GET,path:/slow}>=400",
        "rate{path:/slow}<40",
    ];
    let output = run(&[&holding[..], &["failed{path:/fast}<1"]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let output = run(&["med<10s", "p(90){path:/slow}<300"]);
    assert_eq!(output.status.code(), Some(99), "{output:?}");
    let report = schema::report(&output.stdout);
    let reason = report["verdict"]["reasons"][0].as_str().unwrap();
    assert!(reason.contains("p(90){path:/slow}<300: 4"), "{reason}");

    let output = run(&["p(90){path:/other}<300"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(104), "{text}");
    assert!(
        text.contains("matches no target") && text.contains(&format!("GET {url}/slow")),
        "{text}"
    );
    assert!(output.stdout.is_empty(), "no load was sent");
}

#[test]
fn a_broken_threshold_ends_the_run_early() {
    let url = format!("{}/slow", two_speeds());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.json").to_str().unwrap().to_owned();
    let started = Instant::now();
    let flags = format!("-q 20 -z 60s -o {file} --abort-on-fail=2s");
    let output = run(&url, &flags, &["p(50)<100"]);
    let took = started.elapsed();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(99), "{output:?}");
    assert!(
        took > Duration::from_secs(2) && took < Duration::from_secs(30),
        "took {took:?}"
    );
    assert!(text.starts_with("FAILED\n  - ended early after "), "{text}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("ending early: threshold p(50)<100"));
    let report = json(Path::new(&file));
    let after = report["ended_early"]["after_seconds"].as_f64().unwrap();
    assert!((2.0..30.0).contains(&after), "{after}");
    assert_eq!(report["duration_seconds"], report["ended_early"]["after_seconds"]);
    let output = loadtest(&["compare", &file, &file]);
    assert_eq!(output.status.code(), Some(104));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("ended early"),
        "{output:?}"
    );
}

/// Every bound is broken in the warm-up, but the minimum time begins after it.
#[test]
fn a_run_does_not_end_early_in_its_warm_up() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.json").to_str().unwrap().to_owned();
    let url = format!("{}/slow", two_speeds());
    for (flag, minimum) in [("--abort-on-fail=0s", 0.0), ("--abort-on-fail=2s", 2.0)] {
        let flags = format!("-q 20 -z 60s --warm-up 3s -o {file} {flag}");
        let output = run(&url, &flags, &["p(50)<100"]);
        assert_eq!(output.status.code(), Some(99), "{output:?}");
        let report = json(Path::new(&file));
        assert_eq!(report["warm_up"]["seconds"], 3.0, "{report}");
        let after = report["ended_early"]["after_seconds"].as_f64().unwrap();
        assert!((minimum..30.0).contains(&after), "{after}");
        assert_eq!(report["duration_seconds"], report["ended_early"]["after_seconds"]);
    }
}

#[test]
fn a_run_whose_thresholds_hold_or_are_judged_at_the_end_is_complete() {
    let url = hello();
    let code = |threshold: &str| {
        let output = run(&url, "-q 20 -z 3s --json --abort-on-fail=1s", &[threshold]);
        let report = schema::report(&output.stdout);
        assert_eq!(report["requests"]["sent"], 60, "{report}");
        assert!(report["ended_early"].is_null(), "{report}");
        output.status.code()
    };
    assert_eq!(code("p(50)<5s"), Some(0));
    assert_eq!(code("rate>1000"), Some(99));
}
