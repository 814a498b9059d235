//! `loadtest compare` as a process, with reports of runs against servers on loopback.

use std::time::Duration;

use axum::{Router, routing::get};
use tempfile::TempDir;

use crate::{process::loadtest, schema, support};

/// Starts a server that responds after `latency` and returns its URL.
fn serve(latency: Duration) -> String {
    let answer = move || async move {
        tokio::time::sleep(latency).await;
        "Hello there"
    };
    format!(
        "http://{}/",
        support::serve(Router::new().route("/", get(answer)))
    )
}

/// Runs a load and returns the path of its report.
fn run(folder: &TempDir, name: &str, url: &str, flags: &[&str]) -> String {
    let file = folder.path().join(name).to_str().unwrap().to_owned();
    let output = loadtest(&[&["run", url, "--max-lag", "1s", "-o", &file], flags].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    file
}

/// Runs `loadtest compare` and returns the exit code and the output.
fn compare(arguments: &[&str]) -> (Option<i32>, String) {
    let output = loadtest(&[&["compare"], arguments].concat());
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// Returns the line of a number.
fn line<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines()
        .find(|line| line.trim_start().starts_with(name))
        .unwrap()
}

#[test]
fn a_slower_run_is_worse() {
    let folder = tempfile::tempdir().unwrap();
    let load = ["-q", "100", "-z", "2s"];
    let fast = run(&folder, "fast.json", &serve(Duration::ZERO), &load);
    let slow = run(&folder, "slow.json", &serve(Duration::from_millis(20)), &load);

    let (code, text) = compare(&[&fast, &slow]);
    assert_eq!(code, Some(99), "{text}");
    assert!(
        text.starts_with("WORSE") && line(&text, "p50").ends_with("WORSE"),
        "{text}"
    );
    assert!(line(&text, "failed").ends_with("no significant change"), "{text}");
    assert!(
        text.contains("before, 1 run ") && text.contains("One run of each side cannot distinguish"),
        "{text}"
    );

    let (code, text) = compare(&[&slow, &fast, "--json"]);
    assert_eq!(code, Some(0), "faster is not worse: {text}");
    let report = schema::report(text.as_bytes());
    assert_eq!(report["numbers"][1]["change"], "better", "{report}");
    assert_eq!(report["runs"]["before"], 1, "{report}");
}

#[test]
fn several_runs_of_each_side_are_compared_together() {
    let folder = tempfile::tempdir().unwrap();
    let (fast, slow) = (serve(Duration::ZERO), serve(Duration::from_millis(20)));
    let load = ["-q", "100", "-z", "500ms"];
    let [mut before, mut after] = [vec!["--before".to_owned()], vec!["--after".to_owned()]];
    for turn in 1..=3 {
        before.push(run(&folder, &format!("a{turn}.json"), &fast, &load));
        after.push(run(&folder, &format!("b{turn}.json"), &slow, &load));
    }
    let arguments = |before: &[String], after: &[String], more: &[&'static str]| -> Vec<String> {
        let files = before.iter().chain(after).cloned();
        files.chain(more.iter().map(|flag| (*flag).to_owned())).collect()
    };
    let compare = |arguments: &[String]| compare(&arguments.iter().map(String::as_str).collect::<Vec<_>>());

    let (code, text) = compare(&arguments(&before, &after, &[]));
    assert_eq!(code, Some(99), "{text}");
    assert!(
        text.contains("before, 3 runs") && line(&text, "p50").ends_with("WORSE"),
        "{text}"
    );
    assert!(
        !text.contains("machine"),
        "alternating runs cause no warning: {text}"
    );
    let (_, text) = compare(&arguments(&before, &after, &["--json"]));
    let report = schema::report(text.as_bytes());
    assert_eq!(report["runs"]["in_turns"], true, "{report}");
    let row = &report["numbers"][1];
    let number = |field: &str| row[field]["value"].as_f64().unwrap();
    let percent = (number("after") / number("before") - 1.0) * 100.0;
    assert!(
        (number("difference") - percent).abs() < 1e-6 && percent > 100.0,
        "{row}"
    );

    let first = &before[..3];
    let last = [&after[..1], &after[2..]].concat();
    let (_, text) = compare(&arguments(first, &last, &[]));
    assert!(text.contains("alternate the runs"), "{text}");
    let (code, text) = compare(&arguments(first, &after[..2], &[]));
    assert_eq!(code, Some(104), "{text}");
    assert!(text.contains("2 runs before, 1 run after"), "{text}");
    std::fs::copy(&before[1], folder.path().join("copy.json")).unwrap();
    let copy = folder.path().join("copy.json").to_str().unwrap().to_owned();
    let with_copy = [&after[..2], &[copy]].concat();
    let (code, text) = compare(&arguments(&before, &with_copy, &[]));
    assert_eq!(code, Some(104), "{text}");
    assert!(text.contains("copy.json are the same run"), "{text}");
}

#[test]
fn runs_that_are_not_comparable_are_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let url = serve(Duration::ZERO);
    let fast = run(&folder, "fast.json", &url, &["-q", "50", "-z", "500ms"]);
    let other = run(&folder, "other.json", &url, &["-q", "20", "-z", "500ms"]);
    let text = folder.path().join("text.json").to_str().unwrap().to_owned();
    std::fs::write(&text, "{}").unwrap();
    for (arguments, message) in [
        (vec![&*fast, &*other], "other.json did not send the same load"),
        (vec![&fast, &text], "text.json: not a run"),
        (vec![&fast, "missing.json"], "No such file"),
        (vec![&fast, &fast], "are the same run"),
        (vec!["--before", &fast, &other, "--after", &text], "1 run after"),
        (
            vec!["--before", &fast, &other, "--after", &text, &text],
            "text.json: not a run",
        ),
        (vec!["--before", &fast, &other], "--after"),
        (vec!["--after", &fast, &other], "--before"),
        (vec![&fast], "<AFTER.json>"),
        (
            vec![&fast, &other, "--before", &fast, "--after", &fast],
            "cannot be used",
        ),
        (vec![], "AFTER.json"),
    ] {
        let (code, text) = compare(&arguments);
        assert_eq!(code, Some(104), "{arguments:?}: {text}");
        assert!(
            text.contains(message),
            "{arguments:?}: {message:?} is missing in: {text}"
        );
    }
}
