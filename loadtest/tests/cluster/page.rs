//! The page and the JSON of a run.

use std::path::Path;

use loadtest::{commands::scale::summary, page::render_scale};

use crate::recording::{hpa_at, judge, recording, report};

#[test]
fn the_page_has_the_verdict_every_assertion_and_the_plots_and_needs_no_network() {
    let report = judge(recording());
    let page = render_scale(&report).unwrap();
    // For a person to look at.
    std::fs::write(
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("scale-report.html"),
        &page,
    )
    .unwrap();
    assert!(
        page.contains("<h1 class=\"good\">PASSED</h1>") && page.contains("app-a 2 → 8 → 2"),
        "no verdict"
    );
    for assertion in &report.runs[0].assertions {
        assert!(
            page.contains(&format!("<code>{}</code>", assertion.name)),
            "{} is missing",
            assertion.name
        );
    }
    assert_eq!(page.matches("<svg ").count(), 5);
    for line in [
        "app-a: wanted",
        "app-a: ready",
        "app-a: metric",
        "asked for",
        "sent",
        "p50",
        "p99",
    ] {
        assert!(page.contains(&format!("</i>{line}</span>")), "no line {line:?}");
    }
    for fetched in ["<script", "<link", "src=", "url(", "@import", "https://"] {
        assert!(!page.contains(fetched), "the page has {fetched}");
    }
    assert!(page.contains("width=device-width") && page.contains("prefers-color-scheme: dark"));
    assert!(page.contains("SuccessfulRescale"));
    for part in [
        // The last pod was decided for at 18.75 s, and answered at 20.9 s.
        "app-a-5d8f7-7: decided 5.88 to 18.62 s",
        "<code>served</code></td><td class=\"right\">20.90 ±0.00 s",
        "The way to app-a-5d8f7-",
    ] {
        assert!(page.contains(part), "no {part:?}");
    }
    assert!(
        !page.contains("<connection refused>"),
        "text from the cluster is markup"
    );
    assert!(!page.contains("NaN"));
}

#[test]
fn a_failed_run_says_so_at_the_top() {
    let mut run = recording();
    hpa_at(&mut run, 30).desired = 9;
    let report = judge(run);
    let text = summary(&report);
    assert!(
        text.contains("FAILED never-more app-a") && text.contains("9 after 30 s"),
        "{text}"
    );
    let page = render_scale(&report).unwrap();
    let (top, _) = page.split_once("<h2>Over time</h2>").unwrap();
    assert!(
        top.contains("<h1 class=\"bad\">FAILED</h1>") && top.contains("9 after 30 s"),
        "{top}"
    );
}

#[test]
fn several_runs_are_on_one_page_the_times_of_all_first() {
    let mut failed = recording();
    hpa_at(&mut failed, 30).desired = 9;
    let page = render_scale(&report(vec![recording(), failed])).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("<h1 class=\"bad\">FAILED</h1>"));
    let places: Vec<_> = ["over 2 runs", "<h1>Run 1: PASSED</h1>", "<h1>Run 2: FAILED</h1>"]
        .iter()
        .map(|part| page.find(part).unwrap_or_else(|| panic!("no {part:?}")))
        .collect();
    assert!(places.is_sorted());
}

#[test]
fn the_json_has_a_version_and_everything_of_the_run() {
    let report = serde_json::to_value(judge(recording())).unwrap();
    assert_eq!(
        (&report["schema"], &report["verdict"]),
        (&"loadtest.scale/v2".into(), &"passed".into())
    );
    let run = &report["runs"][0];
    assert_eq!(run["assertions"][1]["name"], "scaled-up");
    assert_eq!(run["assertions"][1]["standing"], "passed");
    assert_eq!(run["expected"][0]["replicas"], 8);
    assert_eq!(run["samples"][50]["hpas"]["app-a"]["ready"], 8);
    assert_eq!(run["events"][0]["reason"], "SuccessfulRescale");
    assert_eq!(run["step"]["schema"], "loadtest.run/v1");
    assert!(run["step"]["latency_ms"]["p99.9"].is_number());
}
