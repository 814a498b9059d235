//! `loadtest run --stripe` and `loadtest merge`: each arrival is sent once, and lost stripes are reported.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use axum::{
    Router,
    routing::{get, put},
};
use jiff::Timestamp;
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    process::{self, Lines, loadtest},
    schema,
    support::{self, Counter},
};

/// Starts a server that counts requests. Returns the counter and the flags of a load: 90 requests per second for 2 s, a
/// quarter of them to `/b`.
fn counting_server() -> (Counter, Vec<String>) {
    let counter = Counter::default();
    let handler = || {
        let counter = counter.clone();
        move || async move {
            counter.next();
            "Hello there"
        }
    };
    let router = Router::new()
        .route("/a", get(handler()))
        .route("/b", put(handler()));
    let address = support::serve(router);
    let targets = [
        format!("--target=3 GET http://{address}/a"),
        format!("--target=1 PUT http://{address}/b"),
    ];
    let flags = ["--rate=90", "--duration=2s"].map(str::to_owned);
    (counter, targets.into_iter().chain(flags).collect())
}

fn stripe(flags: &[String], part: &str, start_at: Timestamp, file: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .arg("run")
        .args(flags)
        .args([
            "--threads=2",
            &format!("--stripe={part}"),
            &format!("--start-at={start_at}"),
        ])
        .arg("--output")
        .arg(file)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Sends the load from three processes. Returns the files with their results, and the start of the load.
fn three_stripes(flags: &[String], folder: &Path) -> ([PathBuf; 3], Timestamp) {
    let files = ["0", "1", "2"].map(|name| folder.join(name));
    let start_at = Timestamp::now() + Duration::from_secs(5);
    let children: Vec<_> = files
        .iter()
        .enumerate()
        .map(|(number, file)| stripe(flags, &format!("{number}/3"), start_at, file))
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    (files, start_at)
}

fn merge(files: &[&Path]) -> (Option<i32>, String, String) {
    let files: Vec<_> = files.iter().map(|file| file.to_str().unwrap()).collect();
    let output = loadtest(&[&["merge", "--json", "--max-lag", "5s"], &files[..]].concat());
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn three_processes_send_each_arrival_once_and_report_as_one() {
    let (counter, flags) = counting_server();
    let folder = tempfile::tempdir().unwrap();
    let (files, start_at) = three_stripes(&flags, folder.path());
    let (code, report, errors) = merge(&[&files[0], &files[1], &files[2]]);
    assert_eq!(code, Some(0), "{errors}{report}");
    let report = schema::report(report.as_bytes());
    assert_eq!(counter.get(), 180);
    assert_eq!(report["requests"]["succeeded"], 180);
    // Each stripe sends 60. Each second and each target receives the requests that one process would send.
    let counts = |list: &str, count: &str| -> Vec<u64> {
        let list = report[list].as_array().unwrap();
        list.iter().map(|entry| entry[count].as_u64().unwrap()).collect()
    };
    assert_eq!(counts("stripes", "sent"), [60, 60, 60]);
    assert_eq!(counts("intervals", "scheduled"), [90, 90]);
    let one = loadtest(
        &[
            &["run", "--json", "--max-lag=5s"][..],
            &flags.iter().map(String::as_str).collect::<Vec<_>>(),
        ]
        .concat(),
    );
    let one = schema::report(&one.stdout);
    let targets = |report: &Value| [0, 1].map(|target| report["targets"][target]["sent"].as_u64().unwrap());
    assert_eq!(targets(&report), targets(&one));
    assert_eq!(report["plan"]["stages"], one["plan"]["stages"]);
    // The list is that of all stripes: the highest latency is the first.
    let slowest = report["slowest"].as_array().unwrap();
    assert_eq!(slowest.len(), 10);
    let (first, max) = (&slowest[0]["latency_ms"], &report["latency_ms"]["max"]);
    let ratio = first.as_f64().unwrap() / max.as_f64().unwrap();
    assert!((0.998..1.002).contains(&ratio), "{first} ms, maximum {max} ms");

    let (code, report, _) = merge(&[&files[2], &files[0]]);
    assert_eq!(code, Some(106), "{report}");
    let report = schema::report(report.as_bytes());
    let reason = report["verdict"]["reasons"][0].as_str().unwrap();
    assert!(reason.contains("stripe 1 of 3 is lost"), "{reason}");
    assert_eq!(
        report["requests"]["succeeded"], 120,
        "the report contains the other stripes"
    );

    let other = folder.path().join("other");
    let late = stripe(&flags, "1/3", start_at, &other)
        .wait_with_output()
        .unwrap();
    assert_eq!(late.status.code(), Some(106), "{late:?}");
    let (_, report, _) = merge(&[&files[0], &other, &files[2]]);
    assert!(report.contains("after the start and sent nothing"), "{report}");

    let other_start = stripe(&flags, "1/3", start_at + Duration::from_secs(1), &other);
    other_start.wait_with_output().unwrap();
    std::fs::write(folder.path().join("text"), "{}\n").unwrap();
    for (second, message) in [
        (&files[0], "second result of stripe 0"),
        (&other, "its start was"),
        (&folder.path().join("text"), "contains no result"),
        (&folder.path().join("missing"), "No such file"),
    ] {
        let (code, _, errors) = merge(&[&files[0], second]);
        assert_eq!(code, Some(104), "{errors}");
        assert!(errors.contains(message), "{errors}");
    }
    let threshold = ["--threshold", "p(99){path:/other}<5"];
    let output = loadtest(&[&["merge", files[0].to_str().unwrap()], &threshold[..]].concat());
    assert_eq!(output.status.code(), Some(104), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("matches no target"),
        "{output:?}"
    );
}

#[test]
fn the_warm_up_of_all_stripes_is_merged() {
    let (counter, mut flags) = counting_server();
    flags.push("--warm-up=1s".to_owned());
    let folder = tempfile::tempdir().unwrap();
    let (files, start_at) = three_stripes(&flags, folder.path());
    let (code, report, errors) = merge(&[&files[0], &files[1], &files[2]]);
    assert_eq!(code, Some(0), "{errors}{report}");
    let report = schema::report(report.as_bytes());
    assert_eq!(counter.get(), 270);
    assert_eq!(
        (
            &report["warm_up"]["requests"]["succeeded"],
            &report["requests"]["succeeded"]
        ),
        (&90.into(), &180.into())
    );
    let started_at: Timestamp = report["started_at"].as_str().unwrap().parse().unwrap();
    assert_eq!(started_at, start_at + Duration::from_secs(1));
}

#[test]
fn a_stripe_that_starts_late_sends_nothing() {
    let (counter, flags) = counting_server();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("late");
    let start_at = Timestamp::now() - Duration::from_secs(3);
    let late = stripe(&flags, "0/2", start_at, &file).wait_with_output().unwrap();
    assert_eq!(late.status.code(), Some(106), "{late:?}");
    let text = String::from_utf8_lossy(&late.stderr);
    assert!(text.contains("no request is sent"), "{text}");
    assert_eq!(counter.get(), 0);
}

#[test]
fn an_interrupted_stripe_writes_a_result_with_the_interruption() {
    let (_, flags) = counting_server();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stopped");
    let mut child = stripe(&flags, "0/1", Timestamp::now() + Duration::from_mins(5), &file);
    let mut lines = Lines::of(child.stderr.take().unwrap());
    lines.wait_for("ready for");
    process::signal(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(105));
    let (code, report, _) = merge(&[&file]);
    assert_eq!(code, Some(106));
    assert!(report.contains("it was stopped after 0 s"), "{report}");
}

#[test]
fn invalid_stripe_flags_are_rejected() {
    let (counter, flags) = counting_server();
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let at = ["--start-at", "2000-01-01T00:00:00Z"];
    for (more, message) in [
        (vec!["--stripe", "3/3"], "is not a stripe"),
        (vec!["--stripe", "0"], "is not a stripe"),
        (vec!["--stripe", "0/200"], "need 200 --connections"),
        (
            vec!["--stripe", "0/3", "--threads", "50"],
            "need 150 --connections",
        ),
        (vec!["--stripe", "0/3", "--html", "x.html"], "cannot be used with"),
        (
            vec!["--stripe", "0/3", "--threshold", "max<1"],
            "cannot be used with",
        ),
        (vec![], "--stripe"),
    ] {
        let output = loadtest(&[&["run"], &flags[..], &more, &at].concat());
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(104), "{more:?}: {text}");
        assert!(
            text.contains(message),
            "{more:?}: {message:?} is missing in: {text}"
        );
    }
    assert_eq!(counter.get(), 0);
}
