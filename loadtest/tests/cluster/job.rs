//! `loadtest job` against a fake API server that runs each pod as a local process.

use std::process::Output;

use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::{
    pods::{FakeCluster, Fault},
    schema,
};

fn report(output: &Output) -> Value {
    schema::report(&output.stdout)
}

#[tokio::test]
async fn a_job_of_three_pods_writes_one_report_and_is_deleted() {
    let cluster = FakeCluster::with(Fault::None).await;
    let output = cluster.run().await;
    let report = report(&output);
    assert_eq!(output.status.code(), Some(0), "{report:#}");
    assert_eq!(report["schema"], "loadtest.run/v1");
    assert_eq!(report["requests"]["succeeded"], 120);
    assert_eq!(cluster.state.lock().unwrap().requests, 120);
    for stripe in 0..3 {
        let entry = &report["stripes"][stripe];
        assert_eq!(
            (&entry["name"], &entry["sent"], &entry["problem"]),
            (&json!(format!("pod-{stripe}")), &json!(40), &Value::Null)
        );
    }
    assert_eq!(cluster.jobs(), (1, 1));
    let progress = String::from_utf8_lossy(&output.stderr);
    assert!(
        progress.contains("3 of 3 pods running, 0 done") && progress.contains("load in progress"),
        "{progress}"
    );
}

#[tokio::test]
async fn a_failed_log_request_is_retried() {
    let cluster = FakeCluster::with(Fault::LogDelayed).await;
    let output = cluster.run().await;
    assert_eq!(output.status.code(), Some(0), "{:#}", report(&output));
    assert_eq!(report(&output)["requests"]["succeeded"], 120);
}

/// Asserts that the run is invalid, names the lost stripe and the reason, and reports the other stripes.
async fn assert_stripe_lost(fault: Fault, message: &str) {
    let cluster = FakeCluster::with(fault).await;
    let output = cluster.run().await;
    let report = report(&output);
    assert_eq!(output.status.code(), Some(106), "{report:#}");
    let reasons = report["verdict"]["reasons"].as_array().unwrap();
    let reason = reasons[0].as_str().unwrap();
    assert!(
        reason.starts_with("stripe 1 of 3 is lost (pod-1): ") && reason.contains(message),
        "{reason}"
    );
    assert_eq!(report["requests"]["succeeded"], 80);
    assert_eq!(cluster.jobs(), (1, 1));
}

#[tokio::test]
async fn a_failed_pod_makes_the_run_invalid() {
    assert_stripe_lost(Fault::Killed, "exit code 137").await;
}

#[tokio::test]
async fn a_deleted_pod_makes_the_run_invalid() {
    assert_stripe_lost(Fault::Deleted, "its pod disappeared").await;
}

#[tokio::test]
async fn a_terminating_pod_is_reported_as_deleted() {
    assert_stripe_lost(Fault::Terminating, "its pod was deleted: exit code 105").await;
}

#[tokio::test]
async fn a_truncated_log_makes_the_run_invalid() {
    assert_stripe_lost(Fault::LogTruncated, "its result is cut off").await;
}

#[tokio::test]
async fn a_pod_that_starts_late_makes_the_run_invalid() {
    assert_stripe_lost(Fault::Late, "after the start and sent nothing").await;
}

#[tokio::test]
async fn configuration_errors_exit_with_104_and_send_no_load() {
    let cluster = FakeCluster::with(Fault::None).await;
    let url = cluster.url.as_str();
    let binary = NamedTempFile::new().unwrap();
    std::fs::write(binary.path(), [0xff]).unwrap();
    let binary = binary.path().to_str().unwrap();
    let load = ["-q", "60", "-z", "2s"];
    for (arguments, message, jobs) in [
        (vec!["hello"], "http://HOST", 0),
        (vec![url, "--stripes", "200"], "need 200 --connections", 0),
        (vec![url, "--body-file", binary], "is not text", 0),
        (
            vec![url, "--html", "/no/such/folder/x.html"],
            "cannot be written",
            0,
        ),
        (vec![url, "--cpu", "much"], "500m", 0),
        (vec![url, "--context", "other"], "context other", 0),
        // Only the pods detect this error: the address is resolved in the pods.
        (
            vec!["http://127.0.0.1:9/", "--start-in", "1m"],
            "cannot be reached",
            1,
        ),
    ] {
        let (mut command, _kubeconfig) = cluster.command(&[&arguments, &load[..]].concat()).await;
        let output = command.output().await.unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(104), "{arguments:?}: {text}");
        assert!(
            text.contains(message),
            "{arguments:?}: {message:?} is missing in: {text}"
        );
        assert_eq!(cluster.jobs(), (jobs, jobs), "{arguments:?}");
    }
    let (mut command, _kubeconfig) = cluster.command(&[url, "-q", "1", "-z", "61m"]).await;
    let output = command.output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(104) && text.contains("at most an hour"),
        "{text}"
    );

    cluster.state.lock().unwrap().forbidden = Some("log");
    let output = cluster.run().await;
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(104), "{text}");
    assert!(
        text.contains("you may not get pods/log in the namespace load"),
        "{text}"
    );
    assert_eq!(cluster.jobs(), (1, 1));
    assert_eq!(cluster.state.lock().unwrap().requests, 0);
}

#[tokio::test]
async fn pods_without_an_image_fail_the_command_before_the_start() {
    let cluster = FakeCluster::with(Fault::NoImage).await;
    let (mut command, _kubeconfig) = cluster
        .command(&[&cluster.url, "-q", "60", "-z", "2s", "--start-in", "10m"])
        .await;
    let output = command.output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(104), "{text}");
    assert!(
        text.contains("cannot run: ImagePullBackOff: no such image"),
        "{text}"
    );
    assert_eq!(cluster.jobs(), (1, 1));
}
