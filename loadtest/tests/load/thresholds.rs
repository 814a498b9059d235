//! The bounds of a run: thresholds, and the early end at a broken one.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use axum::{Router, http::StatusCode, routing::get};

use crate::{
    command::{hello, json},
    process::loadtest,
    schema, support,
};

#[test]
fn a_broken_threshold_exits_with_99() {
    let url = hello();
    let run = |thresholds: &[&str]| {
        let flags = ["run", &url, "-q", "100", "-z", "1s", "--json", "--threshold"];
        loadtest(&[&flags, thresholds].concat())
    };
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
    let code = |more: &[&str]| {
        let flags = ["run", &url, "-q", "50", "-z", "500ms"];
        loadtest(&[&flags, more].concat()).status.code()
    };
    assert_eq!(code(&["--threshold", "failed<=100%"]), Some(0));
    assert_eq!(code(&["--threshold", "failed<50%"]), Some(99));
    assert_eq!(
        code(&["--threshold", "rate>=0"]),
        Some(99),
        "by default no request may fail"
    );
    let both = ["--threshold", "failed<=100%", "--max-failed", "3"];
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
    let run = [
        "run",
        &url,
        "-q",
        "50",
        "-z",
        "1s",
        "--max-in-flight",
        "5",
        "-t",
        "2s",
        "--max-lag",
        "1s",
        "-o",
        &file,
        "--html",
        &html,
        "--markdown",
        &markdown,
        "--threshold",
        "failed<=100%",
    ];
    let output = loadtest(&run);
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
    let output = loadtest(&[&run[..], &["p(90)<1s"]].concat());
    assert_eq!(
        output.status.code(),
        Some(99),
        "the requests that were sent took 400 ms: {output:?}"
    );
}

#[test]
fn a_threshold_can_be_about_one_target() {
    let url = two_speeds();
    let (slow, fast) = (format!("1 GET {url}/slow"), format!("1 GET {url}/fast"));
    let run = |thresholds: &[&str]| {
        let flags = [
            "run",
            "--target",
            &slow,
            "--target",
            &fast,
            "-q",
            "50",
            "-z",
            "1s",
            "--max-lag",
            "1s",
            "--json",
            "--threshold",
        ];
        loadtest(&[&flags, thresholds].concat())
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
        text.contains("about no target") && text.contains(&format!("GET {url}/slow")),
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
    let threshold = [
        "--max-lag",
        "1s",
        "--threshold",
        "p(50)<100",
        "--abort-on-fail=2s",
    ];
    let output = loadtest(
        &[
            &["run", &url, "-q", "20", "-z", "60s", "-o", &file],
            &threshold[..],
        ]
        .concat(),
    );
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

/// In the warm-up every bound is broken. The minimum time begins after it.
#[test]
fn a_run_does_not_end_early_in_its_warm_up() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.json").to_str().unwrap().to_owned();
    let url = format!("{}/slow", two_speeds());
    let load = [
        "run",
        &url,
        "-q",
        "20",
        "-z",
        "60s",
        "--max-lag",
        "1s",
        "-o",
        &file,
    ];
    let warm_up = ["--warm-up", "3s", "--threshold", "p(50)<100"];
    for (flag, minimum) in [("--abort-on-fail=0s", 0.0), ("--abort-on-fail=2s", 2.0)] {
        let output = loadtest(&[&load[..], &warm_up, &[flag]].concat());
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
    let run = |threshold: &str| {
        let flags = [
            "run",
            &url,
            "-q",
            "20",
            "-z",
            "3s",
            "--json",
            "--abort-on-fail=1s",
            "--max-lag",
            "1s",
            "--threshold",
        ];
        let output = loadtest(&[&flags[..], &[threshold]].concat());
        let report = schema::report(&output.stdout);
        assert_eq!(report["requests"]["sent"], 60, "{report}");
        assert!(report["ended_early"].is_null(), "{report}");
        output.status.code()
    };
    assert_eq!(run("p(50)<5s"), Some(0));
    assert_eq!(run("rate>1000"), Some(99));
}
