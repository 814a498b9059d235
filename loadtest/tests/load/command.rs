//! `loadtest run` as a process: exit codes, reports and signals.

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
fn hello() -> String {
    format!(
        "http://{}/hello",
        support::serve(Router::new().route("/hello", get(|| async { "Hello there" })))
    )
}

fn json(path: &Path) -> serde_json::Value {
    schema::report(&std::fs::read(path).unwrap())
}

#[test]
fn a_closed_standard_error_loses_only_the_progress() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(["run", &hello(), "--rate", "50", "-z", "2s", "--json"])
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

#[test]
fn junit_markdown_and_html_reports_contain_each_check() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (junit, markdown, html) = (path("junit.xml"), path("summary.md"), path("run.html"));
    let url = hello();
    let run = [
        "run",
        &url,
        "-q",
        "50",
        "-z",
        "500ms",
        "--junit",
        &junit,
        "--markdown",
        &markdown,
        "--html",
        &html,
    ];
    let output = loadtest(&[&run[..], &["--threshold", "p(99)<10s", "rate>1000"]].concat());
    assert_eq!(output.status.code(), Some(99), "{output:?}");
    let xml = std::fs::read_to_string(&junit).unwrap();
    for part in [
        r#"tests="5" failures="1" skipped="0""#,
        r#"name="rate&#62;1000"><failure message=""#,
        r#"name="requests succeed"><system-out>25 sent, 0 failed<"#,
    ] {
        assert!(xml.contains(part), "{part} is missing in {xml}");
    }
    let page = std::fs::read_to_string(&html).unwrap();
    for part in [
        r#"<h1 class="bad">FAILED</h1>"#,
        r#"<li class="bad"><span class="mark">failed</span> <code>rate&#62;1000</code>"#,
        r#"<li class="good"><span class="mark">ok</span> <code>p(99)&#60;10s</code>"#,
        "</i>due</span>",
        "</i>p99</span>",
        r#"<rect class="heat""#,
        "25 requests due, 25 sent: 25 succeeded",
        "prefers-color-scheme: dark",
        "@media print",
    ] {
        assert!(page.contains(part), "the page does not contain {part}");
    }
    for forbidden in ["<script", "<link", "src=", "url(", "@import", "https://", "NaN"] {
        assert!(!page.contains(forbidden), "the page contains {forbidden}");
    }
    let text = std::fs::read_to_string(&markdown).unwrap();
    assert!(text.starts_with("### loadtest run: FAILED\n"), "{text}");
    assert!(
        text.contains("| ✅ | p(99)&lt;10s |") && text.contains("| ❌ | rate>1000 |"),
        "{text}"
    );
}

#[test]
fn the_reports_list_the_slowest_requests() {
    let handler = || async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        ([("x-served-by", "pod-1")], "Hello there")
    };
    let url = format!(
        "http://{}/",
        support::serve(Router::new().route("/", get(handler)))
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    let html = file.path().to_str().unwrap();
    let run = |slowest: &str, more: &[&str]| {
        let flags = [
            "run",
            &url,
            "-q",
            "40",
            "-z",
            "500ms",
            "--max-lag",
            "1s",
            "--slowest",
            slowest,
        ];
        let output = loadtest(&[&flags, more].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let text = run("3", &["--html", html]);
    let listed: Vec<_> = text.lines().filter(|line| line.contains(" response ")).collect();
    assert_eq!(listed.len(), 3, "{text}");
    let is_complete = |line: &&str| line.contains(&format!("GET {url}, 200 from pod-1; lag "));
    assert!(listed.iter().all(is_complete), "{text}");
    let page = std::fs::read_to_string(html).unwrap();
    assert!(page.contains("Slowest requests"), "{page}");
    assert_eq!(
        page.matches(&format!("<td>pod-1</td><td>GET {url}</td>")).count(),
        3,
        "{page}"
    );

    let report = schema::report(run("1000", &["--json"]).as_bytes());
    let latencies: Vec<f64> = report["slowest"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["latency_ms"].as_f64().unwrap())
        .collect();
    assert_eq!(latencies.len(), 20);
    assert!(latencies.is_sorted_by(|one, next| one >= next), "{latencies:?}");
    assert!(!run("0", &[]).contains("slowest"));
}

#[test]
fn the_reports_show_the_warm_up_and_its_failures_do_not_count() {
    let counter = support::Counter::default();
    // The first 50 requests fail.
    let handler = move || async move {
        if counter.next() < 50 {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::OK
        }
    };
    let url = format!(
        "http://{}/",
        support::serve(Router::new().route("/", get(handler)))
    );
    let folder = tempfile::tempdir().unwrap();
    let [json_file, html, markdown] =
        ["run.json", "run.html", "run.md"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());
    let output = loadtest(&[
        "run",
        &url,
        "-q",
        "50",
        "-z",
        "1s",
        "--warm-up",
        "1s",
        "--max-lag",
        "1s",
        "--threshold",
        "failed<1",
        "rate>40",
        "-o",
        &json_file,
        "--html",
        &html,
        "--markdown",
        &markdown,
    ]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("1 s, 50 sent, 0 succeeded, 50 failed"), "{text}");
    assert!(text.contains("50 due, 50 sent, 50 succeeded, 0 failed"), "{text}");
    let report = json(Path::new(&json_file));
    assert_eq!(report["plan"]["warm_up_seconds"], 1.0);
    assert_eq!(report["warm_up"]["failures"]["status"], 50);
    assert_eq!(report["requests"]["failed"], 0);
    for file in [html, markdown] {
        let content = std::fs::read_to_string(&file).unwrap();
        assert!(content.contains("50 sent, 0 succeeded, 50 failed"), "{content}");
    }
}

#[test]
fn the_warm_up_has_the_first_rate_of_stages_and_traces() {
    let url = hello();
    let trace = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(trace.path(), "0,0\n1,40\n2,0\n").unwrap();
    let trace = trace.path().to_str().unwrap();
    for (flags, warm_up, measured) in [
        (&["--stage", "1s:60", "--stage", "1s:20"][..], 60, 70),
        (&["-q", "30", "--stage", "1s:60"], 30, 45),
        (&["--trace", trace], 40, 40),
    ] {
        let output = loadtest(
            &[
                &["run", &url, "--json", "--max-lag", "1s", "--warm-up", "1s"],
                flags,
            ]
            .concat(),
        );
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let report = schema::report(&output.stdout);
        assert_eq!(
            (
                &report["warm_up"]["requests"]["sent"],
                &report["requests"]["sent"]
            ),
            (&warm_up.into(), &measured.into()),
            "{flags:?}"
        );
    }
}

/// Runs a load with these flags and returns the number of requests due in each second.
fn scheduled_per_second(flags: &[&str]) -> Vec<u64> {
    let url = hello();
    let output = loadtest(&[&["run", &url, "--json"], flags].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = schema::report(&output.stdout);
    let intervals = report["intervals"].as_array().unwrap();
    intervals
        .iter()
        .map(|interval| interval["scheduled"].as_u64().unwrap())
        .collect()
}

#[test]
fn stages_spikes_traces_and_poisson_arrivals_follow_the_schedule() {
    // A ramp from 0 to 100 in 1 s, then 100 for 1 s, then a jump to 300 for 1 s.
    let stages = ["--stage", "1s:100", "--stage", "1s:100", "--stage", "0s:300"];
    assert_eq!(
        scheduled_per_second(&[&stages[..], &["--stage", "1s:300"]].concat()),
        [50, 100, 300]
    );
    assert_eq!(
        scheduled_per_second(&["-q", "20", "-z", "3s", "--spike", "1s:1s:200"]),
        [20, 200, 20]
    );
    let trace = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(trace.path(), "seconds,rate\n0,30\n1,0\n2,60\n3,0\n").unwrap();
    assert_eq!(
        scheduled_per_second(&["--trace", trace.path().to_str().unwrap()]),
        [30, 0, 60]
    );
    let poisson = ["-q", "100", "-z", "2s", "--arrivals", "poisson", "--seed"];
    let (first, same_seed, other_seed) = (
        scheduled_per_second(&[&poisson[..], &["5"]].concat()),
        scheduled_per_second(&[&poisson[..], &["5"]].concat()),
        scheduled_per_second(&[&poisson[..], &["6"]].concat()),
    );
    assert_eq!(first, same_seed);
    assert_ne!(first, other_seed);
    // 5 standard deviations of a Poisson distribution with mean 200.
    assert!((130..=270).contains(&first.iter().sum::<u64>()), "{first:?}");
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
