//! `loadtest job` against an API server that is made up, but whose pods are real.

use std::process::Output;

use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::{
    pods::{Cluster, Trouble},
    schema,
};

fn report(output: &Output) -> Value {
    schema::report(&output.stdout)
}

#[tokio::test]
async fn a_job_of_three_pods_reports_as_one_run_and_is_gone() {
    let cluster = Cluster::with(Trouble::None).await;
    let output = cluster.run().await;
    let report = report(&output);
    assert_eq!(output.status.code(), Some(0), "{report:#}");
    assert_eq!(report["schema"], "loadtest.run/v1");
    assert_eq!(report["requests"]["succeeded"], 120);
    assert_eq!(cluster.state.lock().unwrap().requests, 120);
    for stripe in 0..3 {
        let seen = &report["stripes"][stripe];
        assert_eq!(
            (&seen["name"], &seen["sent"], &seen["problem"]),
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
async fn a_log_that_cannot_be_read_at_once_is_read_the_next_time() {
    let cluster = Cluster::with(Trouble::LogLater).await;
    let output = cluster.run().await;
    assert_eq!(output.status.code(), Some(0), "{:#}", report(&output));
    assert_eq!(report(&output)["requests"]["succeeded"], 120);
}

/// The run is invalid, says which stripe and why, and reports what the others sent.
async fn is_lost(trouble: Trouble, says: &str) {
    let cluster = Cluster::with(trouble).await;
    let output = cluster.run().await;
    let report = report(&output);
    assert_eq!(output.status.code(), Some(106), "{report:#}");
    let reasons = report["verdict"]["reasons"].as_array().unwrap();
    let reason = reasons[0].as_str().unwrap();
    assert!(
        reason.starts_with("stripe 1 of 3 is lost (pod-1): ") && reason.contains(says),
        "{reason}"
    );
    assert_eq!(report["requests"]["succeeded"], 80);
    assert_eq!(cluster.jobs(), (1, 1));
}

#[tokio::test]
async fn a_pod_that_fails_makes_the_run_invalid() {
    is_lost(Trouble::Killed, "exit code 137").await;
}

#[tokio::test]
async fn a_pod_that_is_deleted_makes_the_run_invalid() {
    is_lost(Trouble::Deleted, "its pod disappeared").await;
}

#[tokio::test]
async fn a_pod_that_is_seen_on_its_way_out_is_told_from_one_that_ends_by_itself() {
    is_lost(Trouble::Terminating, "its pod was deleted: exit code 105").await;
}

#[tokio::test]
async fn a_log_that_is_cut_off_makes_the_run_invalid() {
    is_lost(Trouble::Cut, "its result is cut off").await;
}

#[tokio::test]
async fn a_pod_that_comes_late_makes_the_run_invalid() {
    is_lost(Trouble::Late, "after the start and sent nothing").await;
}

#[tokio::test]
async fn mistakes_end_with_104_and_without_load() {
    let cluster = Cluster::with(Trouble::None).await;
    let url = cluster.url.as_str();
    let binary = NamedTempFile::new().unwrap();
    std::fs::write(binary.path(), [0xff]).unwrap();
    let binary = binary.path().to_str().unwrap();
    let load = ["-q", "60", "-z", "2s"];
    for (arguments, says, jobs) in [
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
        // Only the pods see that: the address is one of theirs.
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
        assert!(text.contains(says), "{arguments:?} does not say {says:?}: {text}");
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
async fn pods_without_an_image_end_the_command_before_the_start() {
    let cluster = Cluster::with(Trouble::NoImage).await;
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
