//! A fake API server for `loadtest job`. Each pod is a local `loadtest` process with the arguments from the Job.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    process::{Output, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Json, Router, body::Body, extract::RawQuery, response::IntoResponse, routing::get};
use futures_util::stream;
use http::{Method, StatusCode, Uri};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::TcpListener,
    process::{Child, Command},
    time::{Instant, sleep},
};

use crate::{kubeconfig::kubeconfig, objects, responses::failure};

/// A fault of one stripe, or of all stripes for [`Fault::NoImage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The process is killed during the load.
    Killed,
    /// The process is killed during the load, and the pod disappears.
    Deleted,
    /// The process receives SIGTERM during the load. The pod remains visible as terminating, without its log.
    Terminating,
    /// The end of the log is missing.
    LogTruncated,
    /// The first request for the log fails.
    LogDelayed,
    /// The pod starts after the start of the load.
    Late,
    /// The node is unreachable: the pod receives no SIGTERM when the Job is deleted.
    Unreachable,
    /// The image cannot be pulled.
    NoImage,
}

/// The stripe with the fault.
const FAULTY_STRIPE: usize = 1;

#[derive(Debug)]
pub(crate) struct Pod {
    process: Option<u32>,
    pub(crate) code: Option<i32>,
    log: String,
    /// The number of requests for the log.
    log_requests: u32,
    /// The pod and its log are gone.
    deleted: bool,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    jobs: BTreeMap<String, Value>,
    pub(crate) pods: BTreeMap<usize, Pod>,
    deleted: Vec<String>,
    /// The number of requests that the server under load has received.
    pub(crate) requests: u64,
    /// The subresource that the user has no permission for.
    pub(crate) forbidden: Option<&'static str>,
}

#[derive(Clone)]
pub(crate) struct FakeCluster {
    pub(crate) state: Arc<Mutex<State>>,
    fault: Fault,
    pub(crate) url: String,
}

impl FakeCluster {
    pub(crate) async fn with(fault: Fault) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let server_state = Arc::clone(&state);
        let hello = move |RawQuery(query): RawQuery| async move {
            server_state.lock().unwrap().requests += 1;
            // The query must arrive unchanged: Kubernetes expands `$(NAME)` in container arguments.
            (query.as_deref() == Some("$(JOB_COMPLETION_INDEX)$"))
                .then_some("Hello there")
                .ok_or(StatusCode::NOT_FOUND)
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!(
            "http://{}/hello?$(JOB_COMPLETION_INDEX)$",
            listener.local_addr().unwrap()
        );
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/hello", get(hello))).await });
        Self { state, fault, url }
    }

    fn answer(&self, method: &Method, uri: &Uri, body: &str) -> axum::response::Response {
        const JOBS: &str = "/apis/batch/v1/namespaces/load/jobs";
        const PODS: &str = "/api/v1/namespaces/load/pods";
        let path = uri.path();
        let sent = || serde_json::from_str::<Value>(body).unwrap();
        let mut state = self.state.lock().unwrap();
        let answer = if path == "/version" {
            objects::version()
        } else if path.ends_with("/selfsubjectaccessreviews") {
            let mut review = sent();
            let attributes = &review["spec"]["resourceAttributes"];
            assert_eq!(attributes["namespace"], "load");
            let allowed = state
                .forbidden
                .is_none_or(|subresource| attributes["subresource"] != subresource);
            review["status"] = json!({"allowed": allowed});
            review
        } else if (method, path) == (&Method::POST, JOBS) {
            let job = sent();
            let name = job["metadata"]["name"].as_str().unwrap().to_owned();
            state.jobs.insert(name.clone(), job.clone());
            for stripe in 0..usize::try_from(job["spec"]["completions"].as_u64().unwrap()).unwrap() {
                tokio::spawn(self.clone().run_pod(job.clone(), stripe));
            }
            job
        } else if let Some(name) = path.strip_prefix(JOBS) {
            let name = name.trim_start_matches('/');
            let Some(mut job) = state.jobs.get(name).cloned() else {
                return missing(name);
            };
            if *method == Method::DELETE {
                state.jobs.remove(name);
                state.deleted.push(name.to_owned());
                for (stripe, pod) in &state.pods {
                    let is_reachable = *stripe != FAULTY_STRIPE || self.fault != Fault::Unreachable;
                    if let Some(process) = pod.process.filter(|_| is_reachable) {
                        send_signal(process, Signal::TERM);
                    }
                }
            }
            let stripes = job["spec"]["completions"].as_u64().unwrap();
            let ended = state.pods.values().filter(|pod| pod.code.is_some()).count() as u64;
            if ended == stripes {
                job["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]});
            }
            job
        } else if path == PODS {
            assert!(uri.query().unwrap().contains("job-name%3Dloadtest-"), "{uri}");
            let pods = state.pods.iter().filter(|(_, pod)| !pod.deleted);
            let items: Vec<_> = pods.map(|(stripe, pod)| self.pod_object(*stripe, pod)).collect();
            json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items})
        } else if let Some(name) = path.strip_prefix(PODS) {
            let stripe: usize = name
                .trim_start_matches("/pod-")
                .trim_end_matches("/log")
                .parse()
                .unwrap();
            let pod = state.pods.get_mut(&stripe).unwrap();
            if pod.deleted {
                return missing(name);
            }
            if uri.query().unwrap_or_default().contains("follow=true") {
                return Body::from_stream(stream::once(self.clone().follow_log(stripe))).into_response();
            }
            pod.log_requests += 1;
            if self.fault == Fault::LogDelayed && pod.log_requests == 1 {
                let (code, status) = failure(StatusCode::SERVICE_UNAVAILABLE, "the node does not answer");
                return (code, Json(status)).into_response();
            }
            return pod.log.clone().into_response();
        } else {
            return missing(path);
        };
        Json(answer).into_response()
    }

    /// Returns the Pod object of a stripe.
    fn pod_object(&self, stripe: usize, pod: &Pod) -> Value {
        let (phase, container) = match (self.fault, pod.code) {
            (Fault::NoImage, _) => (
                "Pending",
                json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}),
            ),
            (_, None) => ("Running", json!({"running": {}})),
            (_, Some(0)) => (
                "Succeeded",
                json!({"terminated": {"exitCode": 0, "reason": "Completed"}}),
            ),
            (_, Some(code)) => (
                "Failed",
                json!({"terminated": {"exitCode": code, "reason": "Error"}}),
            ),
        };
        let deletion = (stripe == FAULTY_STRIPE && self.fault == Fault::Terminating && pod.code.is_some())
            .then_some("2027-01-15T08:00:00Z");
        json!({"metadata": {"name": format!("pod-{stripe}"), "namespace": "load", "deletionTimestamp": deletion,
                "annotations": {"batch.kubernetes.io/job-completion-index": stripe.to_string()}},
            "status": {"phase": phase, "containerStatuses": [{"name": "loadtest", "image": "", "imageID": "", "ready": true,
                "restartCount": 0, "state": container}]}})
    }

    /// Runs the process of a pod, with the fault if the stripe has one.
    async fn run_pod(self, job: Value, stripe: usize) {
        let fault = if stripe == FAULTY_STRIPE || self.fault == Fault::NoImage {
            self.fault
        } else {
            Fault::None
        };
        if fault == Fault::Late {
            self.wait_until(|state| state.requests > 0).await;
        }
        let arguments = job["spec"]["template"]["spec"]["containers"][0]["args"]
            .as_array()
            .unwrap()
            .iter();
        let arguments = arguments.map(|argument| expand(argument.as_str().unwrap(), stripe));
        let mut child = (fault != Fault::NoImage).then(|| {
            Command::new(env!("CARGO_BIN_EXE_loadtest"))
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .unwrap()
        });
        let process = child.as_ref().and_then(Child::id);
        let mut log = String::new();
        let errors = child.as_mut().and_then(|child| child.stderr.take());
        let mut errors = errors.map(BufReader::new);
        // The first line shows that the process listens for signals.
        if let Some(errors) = &mut errors {
            errors.read_line(&mut log).await.unwrap();
        }
        let pod = Pod {
            process,
            code: None,
            log: String::new(),
            log_requests: 0,
            deleted: false,
        };
        self.state.lock().unwrap().pods.insert(stripe, pod);
        let (Some(child), Some(mut errors)) = (child, errors) else {
            return;
        };
        let signal = match fault {
            Fault::Killed | Fault::Deleted => Some(Signal::KILL),
            Fault::Terminating => Some(Signal::TERM),
            _ => None,
        };
        if let Some(signal) = signal {
            self.wait_until(|state| state.requests > 30).await;
            send_signal(process.unwrap(), signal);
        }
        let (output, errors) = tokio::join!(child.wait_with_output(), errors.read_to_string(&mut log));
        errors.unwrap();
        let output = output.unwrap();
        log.push_str(str::from_utf8(&output.stdout).unwrap());
        if fault == Fault::LogTruncated {
            log.truncate(log.len() - 100);
        }
        if fault == Fault::Terminating {
            "unable to retrieve container logs for containerd://0123".clone_into(&mut log);
        }
        let mut state = self.state.lock().unwrap();
        let job_is_deleted = state.jobs.is_empty();
        let pod = state.pods.get_mut(&stripe).unwrap();
        pod.process = None;
        pod.log = log;
        pod.deleted = fault == Fault::Deleted || job_is_deleted;
        // 128 + the signal number (SIGKILL is 9), as in a shell and in Kubernetes.
        pod.code = Some(output.status.code().unwrap_or(137));
    }

    /// Waits until the pod has ended and returns its log, even if the pod is deleted in the meantime.
    async fn follow_log(self, stripe: usize) -> Result<String, Infallible> {
        loop {
            if let Some(pod) = self.state.lock().unwrap().pods.get(&stripe)
                && pod.code.is_some()
            {
                return Ok(pod.log.clone());
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits for at most a minute until the state meets a condition.
    pub(crate) async fn wait_until(&self, condition: impl Fn(&State) -> bool) {
        let deadline = Instant::now() + Duration::from_mins(1);
        while !condition(&self.state.lock().unwrap()) {
            assert!(
                Instant::now() < deadline,
                "timeout; the state is {:?}",
                self.state.lock().unwrap()
            );
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn kubeconfig(&self) -> NamedTempFile {
        let cluster = self.clone();
        let answer =
            move |method: Method, uri: Uri, body: String| async move { cluster.answer(&method, &uri, &body) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
        kubeconfig(&server, Some("load"))
    }

    /// Returns a `loadtest job` command with 3 stripes unless `arguments` contain `--stripes`. Keep the kubeconfig file
    /// until the command has ended.
    pub(crate) async fn command(&self, arguments: &[&str]) -> (Command, NamedTempFile) {
        let kubeconfig = self.kubeconfig().await;
        let stripes: &[&str] = if arguments.contains(&"--stripes") {
            &[]
        } else {
            &["--stripes", "3"]
        };
        let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
        command
            .arg("job")
            .args(stripes)
            .args(["--image", "loadtest:test", "--max-lag", "5s"])
            .args(arguments)
            .env("KUBECONFIG", kubeconfig.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        (command, kubeconfig)
    }

    /// Runs a job with 60 requests per second for 2 s.
    pub(crate) async fn run(&self) -> Output {
        let load = [&self.url, "-q", "60", "-z", "2s", "--start-in", "15s", "--json"];
        let (mut command, _kubeconfig) = self.command(&load).await;
        command.output().await.unwrap()
    }

    /// Returns the number of created and of deleted Jobs.
    pub(crate) fn jobs(&self) -> (usize, usize) {
        let state = self.state.lock().unwrap();
        (state.jobs.len() + state.deleted.len(), state.deleted.len())
    }
}

fn missing(what: &str) -> axum::response::Response {
    let (code, status) = failure(StatusCode::NOT_FOUND, &format!("{what} not found"));
    (code, Json(status)).into_response()
}

pub(crate) fn send_signal(process: u32, signal: Signal) {
    let process = Pid::from_raw(process.try_into().unwrap()).unwrap();
    kill_process(process, signal).unwrap();
}

/// Expands container arguments like Kubernetes: `$(JOB_COMPLETION_INDEX)` is the variable, `$$` is a dollar sign.
fn expand(argument: &str, stripe: usize) -> String {
    let parts = argument.split("$$");
    let expanded = parts.map(|part| part.replace("$(JOB_COMPLETION_INDEX)", &stripe.to_string()));
    expanded.collect::<Vec<_>>().join("$")
}
