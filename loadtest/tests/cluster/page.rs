//! The HTML page and the JSON of `loadtest scale`.

use std::path::Path;

use loadtest::{commands::scale::summary, page::render_scale};

use crate::recording::{hpa_at, judge, recording, report};

#[test]
fn the_page_shows_verdict_assertions_and_plots_and_loads_nothing_from_the_network() {
    let report = judge(recording());
    let page = render_scale(&report).unwrap();
    // For manual inspection.
    std::fs::write(
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("scale-report.html"),
        &page,
    )
    .unwrap();
    assert!(
        page.contains("<h1 class=\"good\">PASSED</h1>")
            && page.contains("app-a 2 → 8 → 2")
            && page.contains("app-a: target 50 of http_requests_per_second per pod"),
        "the page has no verdict"
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
        "app-a: desired",
        "app-a: ready",
        "app-a: metric",
        "requested",
        "sent",
        "p50",
        "p99",
    ] {
        assert!(
            page.contains(&format!("</i>{line}</span>")),
            "the page has no line {line:?}"
        );
    }
    for reference in ["<script", "<link", "src=", "url(", "@import", "https://"] {
        assert!(!page.contains(reference), "the page contains {reference}");
    }
    assert!(page.contains("width=device-width") && page.contains("prefers-color-scheme: dark"));
    assert!(page.contains("SuccessfulRescale"));
    for part in [
        // The HPA decided on the last pod at 18.75 s; the pod answered at 20.9 s.
        "app-a-5d8f7-7: decided 5.88 to 18.62 s",
        "<code>served</code></td><td class=\"right\">20.90 ±0.00 s",
        "Stages of the pod app-a-5d8f7-",
    ] {
        assert!(page.contains(part), "the page does not contain {part:?}");
    }
    assert!(
        !page.contains("<connection refused>"),
        "text from the cluster is not escaped"
    );
    assert!(!page.contains("NaN"));
}

#[test]
fn the_page_leads_with_verdict_numbers_and_plots_and_the_checks_show_values() {
    let page = render_scale(&judge(recording())).unwrap();
    let positions = [
        ">PASSED</h1>",
        "<dt>time to scale</dt>",
        "<dt>requests lost</dt><dd>0</dd>",
        "<dt>p99 before the scale-out</dt>",
        "<dt>p99 during the scale-out</dt>",
        "<dt>p99 after the scale-out</dt>",
        "<h2>Over time</h2>",
        "<svg ",
        "<h2>Checks</h2>",
    ]
    .map(|part| {
        page.find(part)
            .unwrap_or_else(|| panic!("the page does not contain {part:?}"))
    });
    assert!(positions.is_sorted(), "{positions:?}");
    let (_, checks) = page.split_once("<h2>Checks</h2>").unwrap();
    for value in ["<td>8 of 8 ready in ", "<td>False in ", " s apart</td>"] {
        assert!(checks.contains(value), "{value:?} is missing in the checks");
    }
    assert!(!page.contains("the replicas did not change"));
}

#[test]
fn the_page_of_several_runs_shows_median_worst_and_the_start_of_each_run() {
    let page = render_scale(&report(vec![recording(), recording()])).unwrap();
    let (top, _) = page.split_once("<h2>Over time</h2>").unwrap();
    for part in [
        "median, worst ",
        "<h2>Runs</h2>",
        "(seed ",
        "since sync",
        "<tr><td>2</td>",
    ] {
        assert!(top.contains(part), "{part:?} is missing in {top}");
    }
}

#[test]
fn a_failed_run_shows_the_failure_at_the_top() {
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
fn several_runs_share_one_page_that_starts_with_the_times_over_all_runs() {
    let mut failed = recording();
    hpa_at(&mut failed, 30).desired = 9;
    let page = render_scale(&report(vec![recording(), failed])).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("<h1 class=\"bad\">FAILED</h1>"));
    let positions: Vec<_> = ["over 2 runs", "<h1>Run 1: PASSED</h1>", "<h1>Run 2: FAILED</h1>"]
        .iter()
        .map(|part| {
            page.find(part)
                .unwrap_or_else(|| panic!("the page does not contain {part:?}"))
        })
        .collect();
    assert!(positions.is_sorted());
}

#[test]
fn the_json_contains_the_schema_version_and_all_data_of_the_run() {
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
