//! Jobs and their pods, for `loadtest job`. Only this module writes to a cluster.

use std::time::Duration;

use http::{Request, header};
use http_body_util::BodyExt;
use jiff::{Timestamp, fmt::rfc2822};
use k8s_openapi::api::{
    authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
    batch::v1::Job,
    core::v1::{ContainerStatus, Pod},
};
use kube::{
    Api, Resource,
    api::{DeleteParams, ListParams, LogParams, PostParams},
    client::Body,
};

use super::{
    client::Cluster,
    read::{ReadError, ReadResult, describe, read, read_within},
};

/// The timeout for reading the log of one pod. After a long load, the log has several megabytes.
const LOG_TIMEOUT: Duration = Duration::from_mins(1);

/// The annotation in which the Job controller stores the completion index of a pod.
const INDEX_ANNOTATION: &str = "batch.kubernetes.io/job-completion-index";

/// A permission in a namespace: verb, API group, resource, subresource.
pub type Permission = (&'static str, &'static str, &'static str, &'static str);

/// The progress of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodProgress {
    /// The pod does not run yet. If known, holds the reason, such as `ImagePullBackOff`, and its message.
    Waiting(Option<(String, String)>),
    /// The process runs.
    Running,
    /// The process stopped, or will never run.
    Terminated {
        /// The exit code; `None` if no process ran.
        code: Option<i32>,
        /// The reason that Kubernetes gives, such as `OOMKilled`.
        reason: Option<String>,
    },
}

/// The pod that sends one stripe of the load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StripePod {
    /// The name of the pod.
    pub name: String,
    /// The index of the stripe, from 0.
    pub stripe: usize,
    /// The progress of the pod.
    pub progress: PodProgress,
}

impl StripePod {
    /// Returns `None` for a pod without a completion index.
    fn of(pod: Pod) -> Option<Self> {
        let stripe = pod.metadata.annotations?.get(INDEX_ANNOTATION)?.parse().ok()?;
        let status = pod.status.unwrap_or_default();
        let deletion = pod.metadata.deletion_timestamp;
        let container = status.container_statuses.unwrap_or_default().into_iter().next();
        let progress = match status.phase.as_deref() {
            Some("Running") => PodProgress::Running,
            Some("Succeeded" | "Failed") => {
                // A deleted pod exists only briefly, often without a log: report the deletion.
                let deleted = deletion.map(|_| "its pod was deleted".to_owned());
                terminated_progress(container, status.reason.or(deleted), status.message)
            }
            _ => PodProgress::Waiting(container.and_then(waiting_reason)),
        };
        Some(Self {
            name: pod.metadata.name?,
            stripe,
            progress,
        })
    }
}

fn waiting_reason(container: ContainerStatus) -> Option<(String, String)> {
    let waiting = container.state?.waiting?;
    Some((waiting.reason?, waiting.message.unwrap_or_default()))
}

fn terminated_progress(
    container: Option<ContainerStatus>,
    reason: Option<String>,
    message: Option<String>,
) -> PodProgress {
    let terminated = container
        .and_then(|container| container.state)
        .and_then(|state| state.terminated);
    let pod_reason = reason.map(|reason| match message {
        Some(message) => format!("{reason}: {message}"),
        None => reason,
    });
    let process_reason = || {
        let reason = terminated.as_ref()?.reason.clone()?;
        // These two reasons say no more than the exit code.
        (reason != "Error" && reason != "Completed").then_some(reason)
    };
    PodProgress::Terminated {
        reason: pod_reason.or_else(process_reason),
        code: terminated.map(|terminated| terminated.exit_code),
    }
}

impl Cluster {
    /// Returns the namespace of the kubeconfig's context, or `default`.
    #[must_use]
    pub fn default_namespace(&self) -> &str {
        self.client.default_namespace()
    }

    /// Returns the time of the API server's clock, in whole seconds.
    ///
    /// # Errors
    /// Returns an error if the request to the API server fails.
    pub async fn time(&self) -> ReadResult<Timestamp> {
        let request = Request::get("/version")
            .body(Body::empty())
            .map_err(|error| ReadError(error.to_string()))?;
        let answer = read(self.client.send(request)).await?;
        let date = answer.headers().get(header::DATE);
        let time = date
            .and_then(|date| date.to_str().ok())
            .and_then(|date| rfc2822::DateTimeParser::new().parse_timestamp(date).ok());
        time.ok_or_else(|| ReadError("the API server's responses have no Date header".to_owned()))
    }

    /// Returns whether the user has a permission in a namespace.
    ///
    /// # Errors
    /// Returns an error if the request to the API server fails.
    pub async fn is_allowed(&self, namespace: &str, permission: Permission) -> ReadResult<bool> {
        let (verb, group, resource, subresource) = permission;
        let api: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    namespace: Some(namespace.to_owned()),
                    verb: Some(verb.to_owned()),
                    group: Some(group.to_owned()),
                    resource: Some(resource.to_owned()),
                    subresource: Some(subresource.to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let answer = read(api.create(&PostParams::default(), &review)).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    /// Creates a Job.
    ///
    /// # Errors
    /// Returns an error if the request to the API server fails, or if the API server rejects it.
    pub async fn create_job(&self, namespace: &str, job: &Job) -> ReadResult<()> {
        let api: Api<Job> = Api::namespaced(self.client.clone(), namespace);
        read(api.create(&PostParams::default(), job)).await.map(drop)
    }

    /// Deletes a Job and its pods.
    ///
    /// # Errors
    /// Returns an error if the request to the API server fails, or if the API server rejects it.
    pub async fn delete_job(&self, namespace: &str, name: &str) -> ReadResult<()> {
        let api: Api<Job> = Api::namespaced(self.client.clone(), namespace);
        read(api.delete(name, &DeleteParams::background()))
            .await
            .map(drop)
    }

    /// Returns whether all pods of a Job have stopped, or the Job no longer exists.
    ///
    /// # Errors
    /// Returns an error if the request to the API server fails.
    pub async fn job_has_finished(&self, namespace: &str, name: &str) -> ReadResult<bool> {
        let api: Api<Job> = Api::namespaced(self.client.clone(), namespace);
        let Some(job) = read(api.get_opt(name)).await? else {
            return Ok(true);
        };
        let conditions = job
            .status
            .and_then(|status| status.conditions)
            .unwrap_or_default();
        Ok(conditions.iter().any(|condition| {
            matches!(condition.type_.as_str(), "Complete" | "Failed") && condition.status == "True"
        }))
    }

    /// Returns the pods of a Job that have a completion index.
    ///
    /// # Errors
    /// Returns an error if the request to the API server fails.
    pub async fn stripe_pods(&self, namespace: &str, job: &str) -> ReadResult<Vec<StripePod>> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let of_job = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={job}"));
        let pods = read(api.list(&of_job)).await?;
        Ok(pods.items.into_iter().filter_map(StripePod::of).collect())
    }

    /// Returns the whole log of a pod.
    ///
    /// # Errors
    /// Returns an error if the request to the API server fails, or if the log no longer exists.
    pub async fn log(&self, namespace: &str, pod: &str) -> ReadResult<String> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        read_within(LOG_TIMEOUT, api.logs(pod, &LogParams::default())).await
    }

    /// Follows the log of a pod until the pod stops, and returns the whole log. The log is complete even if the pod is
    /// deleted in the meantime. Calls `on_open` when the log stream is open. There is no timeout.
    ///
    /// # Errors
    /// Returns an error if the request to the API server fails, or if there is no log of the pod.
    pub async fn follow_log(&self, namespace: &str, pod: &str, on_open: impl FnOnce()) -> ReadResult<String> {
        let follow = LogParams {
            follow: true,
            ..LogParams::default()
        };
        let request = kube::core::Request::new(Pod::url_path(&(), Some(namespace))).logs(pod, &follow);
        let request = request.map_err(|error| ReadError(error.to_string()))?;
        // Boxed: the futures of requests are large.
        let answer = Box::pin(self.client.send(request.map(Body::from))).await;
        let answer = answer.map_err(|error| ReadError(describe(&error)))?;
        if !answer.status().is_success() {
            return Err(ReadError(format!("status {}", answer.status())));
        }
        on_open();
        let (mut body, mut log) = (answer.into_body(), Vec::new());
        // When the container is removed, the node may break the stream: keep what arrived.
        while let Some(Ok(frame)) = body.frame().await {
            log.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
        }
        Ok(String::from_utf8_lossy(&log).into_owned())
    }
}
