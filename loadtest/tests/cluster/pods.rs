//! An API server that is made up, but whose pods are real: each is the program itself, called with the arguments that the
//! Job gives it.

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

use crate::{
    kubeconfig::kubeconfig,
    objects::{self, failure},
};

/// What goes wrong with a stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    None,
    /// Its process is ended in the middle of the load.
    Killed,
    /// The same, and the pod is nowhere to be seen afterwards.
    Deleted,
    /// It is told to end in the middle of the load, and seen once more, without its log.
    Terminating,
    /// The end of its log is missing.
    Cut,
    /// The API server does not have its log at once.
    LogLater,
    /// It comes up after the start.
    Late,
    /// Nobody tells it to end when the Job is deleted: its node is away.
    Unreachable,
    /// No image for any pod.
    NoImage,
}

/// The stripe that has it.
const UNLUCKY: usize = 1;

#[derive(Debug)]
pub(crate) struct Pod {
    process: Option<u32>,
    pub(crate) code: Option<i32>,
    log: String,
    /// How often its log was asked for.
    asked: u32,
    /// It is nowhere to be seen, and its log with it.
    deleted: bool,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    jobs: BTreeMap<String, Value>,
    pub(crate) pods: BTreeMap<usize, Pod>,
    deleted: Vec<String>,
    /// Requests that the server under load has answered.
    pub(crate) requests: u64,
    /// What the user may not do.
    pub(crate) forbidden: Option<&'static str>,
}

#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) state: Arc<Mutex<State>>,
    trouble: Trouble,
    pub(crate) url: String,
}

impl Cluster {
    pub(crate) async fn with(trouble: Trouble) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let counted = Arc::clone(&state);
        let hello = move |RawQuery(query): RawQuery| async move {
            counted.lock().unwrap().requests += 1;
            // As it was typed, whatever Kubernetes makes of dollars.
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
        Self { state, trouble, url }
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
            let asked = &review["spec"]["resourceAttributes"];
            assert_eq!(asked["namespace"], "load");
            let allowed = state
                .forbidden
                .is_none_or(|subresource| asked["subresource"] != subresource);
            review["status"] = json!({"allowed": allowed});
            review
        } else if (method, path) == (&Method::POST, JOBS) {
            let job = sent();
            let name = job["metadata"]["name"].as_str().unwrap().to_owned();
            state.jobs.insert(name.clone(), job.clone());
            for stripe in 0..usize::try_from(job["spec"]["completions"].as_u64().unwrap()).unwrap() {
                tokio::spawn(self.clone().pod(job.clone(), stripe));
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
                    let reached = *stripe != UNLUCKY || self.trouble != Trouble::Unreachable;
                    if let Some(process) = pod.process.filter(|_| reached) {
                        end(process, Signal::TERM);
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
            let items: Vec<_> = pods.map(|(stripe, pod)| self.describe(*stripe, pod)).collect();
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
                return Body::from_stream(stream::once(self.clone().log_to_its_end(stripe))).into_response();
            }
            pod.asked += 1;
            if self.trouble == Trouble::LogLater && pod.asked == 1 {
                let (code, status) = failure(StatusCode::SERVICE_UNAVAILABLE, "the node does not answer");
                return (code, Json(status)).into_response();
            }
            return pod.log.clone().into_response();
        } else {
            return missing(path);
        };
        Json(answer).into_response()
    }

    fn describe(&self, stripe: usize, pod: &Pod) -> Value {
        let (phase, container) = match (self.trouble, pod.code) {
            (Trouble::NoImage, _) => (
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
        let deletion = (stripe == UNLUCKY && self.trouble == Trouble::Terminating && pod.code.is_some())
            .then_some("2027-01-15T08:00:00Z");
        json!({"metadata": {"name": format!("pod-{stripe}"), "namespace": "load", "deletionTimestamp": deletion,
                "annotations": {"batch.kubernetes.io/job-completion-index": stripe.to_string()}},
            "status": {"phase": phase, "containerStatuses": [{"name": "loadtest", "image": "", "imageID": "", "ready": true,
                "restartCount": 0, "state": container}]}})
    }

    /// A pod's life.
    async fn pod(self, job: Value, stripe: usize) {
        let trouble = if stripe == UNLUCKY || self.trouble == Trouble::NoImage {
            self.trouble
        } else {
            Trouble::None
        };
        if trouble == Trouble::Late {
            self.wait_until(|state| state.requests > 0).await;
        }
        let arguments = job["spec"]["template"]["spec"]["containers"][0]["args"]
            .as_array()
            .unwrap()
            .iter();
        let arguments = arguments.map(|argument| expand(argument.as_str().unwrap(), stripe));
        let mut child = (trouble != Trouble::NoImage).then(|| {
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
        let mut said = String::new();
        let errors = child.as_mut().and_then(|child| child.stderr.take());
        let mut errors = errors.map(BufReader::new);
        // It runs once it has said something, and by then listens to signals.
        if let Some(errors) = &mut errors {
            errors.read_line(&mut said).await.unwrap();
        }
        let pod = Pod {
            process,
            code: None,
            log: String::new(),
            asked: 0,
            deleted: false,
        };
        self.state.lock().unwrap().pods.insert(stripe, pod);
        let (Some(child), Some(mut errors)) = (child, errors) else {
            return;
        };
        let signal = match trouble {
            Trouble::Killed | Trouble::Deleted => Some(Signal::KILL),
            Trouble::Terminating => Some(Signal::TERM),
            _ => None,
        };
        if let Some(signal) = signal {
            self.wait_until(|state| state.requests > 30).await;
            end(process.unwrap(), signal);
        }
        let (output, errors) = tokio::join!(child.wait_with_output(), errors.read_to_string(&mut said));
        errors.unwrap();
        let output = output.unwrap();
        let mut log = said + str::from_utf8(&output.stdout).unwrap();
        if trouble == Trouble::Cut {
            log.truncate(log.len() - 100);
        }
        if trouble == Trouble::Terminating {
            "unable to retrieve container logs for containerd://0123".clone_into(&mut log);
        }
        let mut state = self.state.lock().unwrap();
        let is_over = state.jobs.is_empty();
        let pod = state.pods.get_mut(&stripe).unwrap();
        pod.process = None;
        pod.log = log;
        pod.deleted = trouble == Trouble::Deleted || is_over;
        // 128 and the signal's number, as a shell and Kubernetes have it.
        pod.code = Some(output.status.code().unwrap_or(137));
    }

    /// The log of somebody who listens already, and so hears what a pod says that is deleted.
    async fn log_to_its_end(self, stripe: usize) -> Result<String, Infallible> {
        loop {
            if let Some(pod) = self.state.lock().unwrap().pods.get(&stripe)
                && pod.code.is_some()
            {
                return Ok(pod.log.clone());
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn wait_until(&self, reached: impl Fn(&State) -> bool) {
        let deadline = Instant::now() + Duration::from_mins(1);
        while !reached(&self.state.lock().unwrap()) {
            assert!(
                Instant::now() < deadline,
                "still {:?}",
                self.state.lock().unwrap()
            );
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn kubeconfig(&self) -> NamedTempFile {
        let world = self.clone();
        let answer =
            move |method: Method, uri: Uri, body: String| async move { world.answer(&method, &uri, &body) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
        kubeconfig(&server, Some("load"))
    }

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

    /// 60 requests a second for 2 s.
    pub(crate) async fn run(&self) -> Output {
        let load = [&self.url, "-q", "60", "-z", "2s", "--start-in", "15s", "--json"];
        let (mut command, _kubeconfig) = self.command(&load).await;
        command.output().await.unwrap()
    }

    /// How many of the made-up Jobs were made and deleted.
    pub(crate) fn jobs(&self) -> (usize, usize) {
        let state = self.state.lock().unwrap();
        (state.jobs.len() + state.deleted.len(), state.deleted.len())
    }
}

fn missing(what: &str) -> axum::response::Response {
    let (code, status) = failure(StatusCode::NOT_FOUND, &format!("{what} not found"));
    (code, Json(status)).into_response()
}

pub(crate) fn end(process: u32, signal: Signal) {
    let process = Pid::from_raw(process.try_into().unwrap()).unwrap();
    kill_process(process, signal).unwrap();
}

/// Kubernetes' own rule: `$(NAME)` is the variable where there is one, and `$$` a dollar.
fn expand(argument: &str, stripe: usize) -> String {
    let parts = argument.split("$$");
    let expanded = parts.map(|part| part.replace("$(JOB_COMPLETION_INDEX)", &stripe.to_string()));
    expanded.collect::<Vec<_>>().join("$")
}
