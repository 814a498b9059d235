//! The reports of a run: text, JSON, JUnit, Markdown and HTML.

use std::{path::Path, time::Duration};

use axum::{Router, http::StatusCode, routing::get};

use crate::{
    command::{hello, json},
    process::loadtest,
    schema, support,
};

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
