//! Interrupted `loadtest job` commands against a fake API server.
//!
//! The server removes a deleted pod and its log as soon as the pod has ended.

use std::{
    fs,
    process::Output,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStderr},
    time::timeout,
};

use crate::{
    pods::{FakeCluster, Fault, send_signal},
    schema,
};

/// 60 requests per second for 2 minutes; the start delay follows.
const LOAD: [&str; 6] = ["-q", "60", "-z", "2m", "--json", "--start-in"];

/// The command waits for results for this timeout plus 30 s.
const SHORT_TIMEOUT: [&str; 2] = ["-t", "1s"];

/// The time limit for an expected line of the command.
const LINE_TIMEOUT: Duration = Duration::from_mins(1);

/// A running command.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    _kubeconfig: NamedTempFile,
}

impl Running {
    async fn start(cluster: &FakeCluster, arguments: &[&str]) -> Self {
        let all = [&[cluster.url.as_str()], &LOAD[..], arguments].concat();
        let (mut command, kubeconfig) = cluster.command(&all).await;
        let mut child = command.spawn().unwrap();
        Self {
            lines: BufReader::new(child.stderr.take().unwrap()).lines(),
            child,
            _kubeconfig: kubeconfig,
        }
    }

    /// Starts the command and waits until its pods have sent more than 80 requests, which takes more than a second.
    async fn under_load(cluster: &FakeCluster, arguments: &[&str]) -> Self {
        let running = Self::start(cluster, &[&["15s"], arguments].concat()).await;
        cluster.wait_until(|state| state.requests > 80).await;
        running
    }

    async fn wait_for_line(&mut self, text: &str) {
        let mut lines = Vec::new();
        let found = timeout(LINE_TIMEOUT, async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                lines.push(line);
                if lines.last().is_some_and(|line| line.contains(text)) {
                    return true;
                }
            }
            false
        });
        let found = found.await.unwrap_or(false);
        assert!(found, "no line contains {text:?}: {lines:#?}");
    }

    fn signal(&self, signal: Signal) {
        send_signal(self.child.id().unwrap(), signal);
    }

    /// Waits until the command has ended.
    async fn output(mut self) -> Output {
        while self.lines.next_line().await.unwrap().is_some() {}
        self.child.wait_with_output().await.unwrap()
    }

    /// Waits until the command has ended, asserts that it was interrupted, and returns its report.
    async fn interrupted(self) -> Value {
        let output = self.output().await;
        assert_eq!(output.status.code(), Some(105), "{output:?}");
        let report = schema::report(&output.stdout);
        assert_eq!(report["verdict"]["outcome"], "interrupted");
        report
    }
}

#[tokio::test]
async fn an_interrupted_job_writes_all_reports_with_the_measurements_so_far() {
    let cluster = FakeCluster::with(Fault::None).await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let flags = ["-o", "--html", "--junit", "--markdown"];
    let files = flags.map(|flag| (flag, file(flag)));
    let arguments: Vec<_> = files.iter().flat_map(|(flag, path)| [*flag, path]).collect();
    let running = Running::under_load(&cluster, &arguments).await;
    running.signal(Signal::INT);
    let report = running.interrupted().await;

    let answered = cluster.state.lock().unwrap().requests;
    for (count, expected) in [
        ("scheduled", answered),
        ("sent", answered),
        ("succeeded", answered),
        ("failed", 0),
    ] {
        assert_eq!(report["requests"][count], expected, "{count}: {report:#}");
    }
    let stripes = report["stripes"].as_array().unwrap();
    let sent = |stripe: &Value| stripe["sent"].as_u64().unwrap();
    assert_eq!(stripes.len(), 3);
    assert_eq!(stripes.iter().map(sent).sum::<u64>(), answered);
    for stripe in stripes {
        assert!(sent(stripe) > 20 && stripe["problem"].is_null(), "{stripe}");
    }
    assert_eq!(
        report["verdict"]["reasons"],
        json!(["stopped by a signal before its end"])
    );
    let requested = report["rates"]["requested"].as_f64().unwrap();
    let seconds = report["duration_seconds"].as_f64().unwrap();
    assert!((requested - 60.0).abs() < 0.1 && seconds < 60.0, "{report:#}");
    for (flag, path) in &files {
        let text = fs::read_to_string(path).unwrap().to_lowercase();
        assert!(text.contains("interrupted"), "{flag}: {text}");
    }
    assert_eq!(cluster.jobs(), (1, 1));
}

#[tokio::test]
async fn a_signal_before_the_start_ends_the_pods_and_reports_no_requests() {
    let cluster = FakeCluster::with(Fault::None).await;
    let page = NamedTempFile::new().unwrap();
    let page_path = page.path().to_str().unwrap();
    let mut running = Running::start(&cluster, &["10m", "--keep", "--html", page_path]).await;
    running.wait_for_line("3 of 3 pods running").await;
    running.signal(Signal::TERM);
    let report = running.interrupted().await;
    assert_eq!(report["requests"]["scheduled"], 0);
    assert_eq!(report["duration_seconds"], 0.0);
    assert_eq!(
        report["verdict"]["reasons"],
        json!(["stopped by a signal before its end", "no request was sent"])
    );
    assert!(fs::read_to_string(page.path()).unwrap().contains("INTERRUPTED"));
    assert_eq!(cluster.jobs(), (1, 1));
    let state = cluster.state.lock().unwrap();
    assert!(state.pods.values().all(|pod| pod.code.is_some()), "{state:?}");
}

#[tokio::test]
async fn a_late_result_is_lost_and_the_other_results_are_reported() {
    let cluster = FakeCluster::with(Fault::Unreachable).await;
    let running = Running::under_load(&cluster, &SHORT_TIMEOUT).await;
    running.signal(Signal::INT);
    let report = running.interrupted().await;
    let reasons = report["verdict"]["reasons"].as_array().unwrap();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert_eq!(
        reasons[1],
        "stripe 1 of 3 is lost (pod-1): its pod disappeared or did not stop in time"
    );
    let sent: Vec<_> = (0..3)
        .map(|stripe| report["stripes"][stripe]["sent"].as_u64().unwrap())
        .collect();
    assert!(sent[0] > 20 && sent[1] == 0 && sent[2] > 20, "{sent:?}");
    assert_eq!(report["requests"]["sent"], sent[0] + sent[2]);
}

#[tokio::test]
async fn a_second_signal_ends_the_command_immediately() {
    let cluster = FakeCluster::with(Fault::Unreachable).await;
    let mut running = Running::under_load(&cluster, &SHORT_TIMEOUT).await;
    running.signal(Signal::INT);
    running.wait_for_line("a second signal stops at once").await;
    cluster.wait_until(|state| state.pods[&0].code.is_some()).await;
    let signalled = Instant::now();
    running.signal(Signal::INT);
    let output = running.output().await;
    assert_eq!((output.status.code(), output.stdout.len()), (Some(105), 0));
    assert!(
        signalled.elapsed() < Duration::from_secs(5),
        "took {:?}",
        signalled.elapsed()
    );
    assert_eq!(cluster.jobs(), (1, 1));
}
