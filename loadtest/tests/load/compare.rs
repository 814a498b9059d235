//! `loadtest compare` as a process, with reports of runs against servers on loopback.

use std::{thread, time::Duration};

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
    let (fast_url, slow_url) = (serve(Duration::ZERO), serve(Duration::from_millis(20)));
    let load = ["-q", "50", "-z", "8s"];
    let (fast, slow) = thread::scope(|scope| {
        let fast = scope.spawn(|| run(&folder, "fast.json", &fast_url, &load));
        let slow = run(&folder, "slow.json", &slow_url, &load);
        (fast.join().unwrap(), slow)
    });

    let (code, text) = compare(&[&fast, &slow]);
    assert_eq!(code, Some(99), "{text}");
    assert!(
        text.starts_with("WORSE") && line(&text, "p50").ends_with("WORSE"),
        "{text}"
    );
    assert!(line(&text, "p50").contains("%  p 0.0"), "{text}");
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
    let row = &report["numbers"][1];
    assert!(
        row["p_value"].as_f64().unwrap() <= 0.05 && row["before"]["low"].is_null(),
        "{row}"
    );
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
    let same = run(&folder, "same.json", &url, &["-q", "50", "-z", "500ms"]);
    let text = folder.path().join("text.json").to_str().unwrap().to_owned();
    std::fs::write(&text, "{}").unwrap();
    for (arguments, message) in [
        (vec![&*fast, &*other], "other.json did not send the same load"),
        (vec![&fast, &text], "text.json: not a run"),
        (
            vec![&fast, &same],
            "too short to compare one run with one run: send at least 8 s",
        ),
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

/// The second run differs in everything that shapes the load. `compare` lists each difference with both values.
/// Addresses may differ.
#[test]
fn runs_of_different_loads_are_rejected_with_every_difference() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (serve(Duration::ZERO), serve(Duration::ZERO));
    let load = ["-q", "50", "-z", "500ms"];
    let even = run(&folder, "even.json", &old, &load);
    let [user, other_user] = ["Authorization: token-1", "Authorization: token-2"];
    let flags = |flags: &[&'static str]| [&load[..], flags].concat();
    for (name, url, flags, differences) in [
        (
            "poisson",
            &new,
            flags(&["--arrivals", "poisson", "-c", "10"]),
            &[
                r#"plan.spacing: "even" and "poisson""#,
                "plan.connections: 100 and 10",
            ][..],
        ),
        (
            "warm-up",
            &new,
            flags(&["--warm-up", "200ms"]),
            &["plan.warm_up_seconds: 0.0 and 0.2"],
        ),
        (
            "network",
            &new,
            flags(&["--dns-ttl", "5s", "-t", "3s", "--max-idle", "1s"]),
            &[
                "plan.dns_ttl_seconds: null and 5.0",
                "plan.timeout_seconds: 10.0 and 3.0",
                "plan.max_idle_seconds: 4.0 and 1.0",
            ],
        ),
        (
            "post",
            &new,
            flags(&["-m", "POST", "-d", "hello", "-H", user, "--expect-status", "405"]),
            &[
                r#"targets[0]: "1 GET http://host-1/" and "1 POST http://host-1/""#,
                r#"plan.content.headers: [] and ["authorization"]"#,
                "plan.content.body_bytes: 0 and 5",
                "plan.expectations.statuses: [] and [405]",
            ],
        ),
        (
            "path",
            &format!("{new}?page=2"),
            flags(&[]),
            &[r#"targets[0]: "1 GET http://host-1/" and "1 GET http://host-1/?page=2""#],
        ),
    ] {
        let other = run(&folder, name, url, &flags);
        let (code, text) = compare(&[&even, &other]);
        assert_eq!(code, Some(104), "{text}");
        for difference in differences {
            assert!(text.contains(difference), "{difference} is missing in: {text}");
        }
    }
    let [first, second] = [("first.json", user), ("second.json", other_user)]
        .map(|(name, header)| run(&folder, name, &old, &[&load[..], &["-H", header]].concat()));
    let (code, text) = compare(&[&first, &second]);
    assert_eq!(code, Some(104), "{text}");
    assert!(text.contains("plan.content.header_fingerprint"), "{text}");
    let report = std::fs::read_to_string(&first).unwrap();
    assert!(
        !report.contains("token-1"),
        "a report does not contain values of headers"
    );

    let runs: Vec<String> = [
        ("a", &old, "1"),
        ("b", &old, "2"),
        ("c", &new, "3"),
        ("d", &new, "4"),
    ]
    .map(|(name, url, seed)| {
        run(
            &folder,
            name,
            url,
            &[&load[..], &["--arrivals", "poisson", "--seed", seed]].concat(),
        )
    })
    .into();
    let (code, text) = compare(&["--before", &runs[0], &runs[1], "--after", &runs[2], &runs[3]]);
    assert_ne!(
        code,
        Some(104),
        "other addresses and other seeds are the same load: {text}"
    );
}
