//! Jobs and their pods, for `loadtest job`. Nothing else of this program writes to a cluster.

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
    read::{Read, ReadError, describe, read, read_within},
};

/// How long one pod's log may take: some megabytes, where the load was long.
const LOG_PATIENCE: Duration = Duration::from_mins(1);

/// Where the Job's controller writes a pod's number.
const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// What must be allowed in a namespace: verb, group, resource, subresource.
pub type Permission = (&'static str, &'static str, &'static str, &'static str);

/// How far a pod is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodProgress {
    /// Not running yet, and why, where a reason is known: `ImagePullBackOff`, and what is said about it.
    Waiting(Option<(String, String)>),
    /// Its process runs.
    Running,
    /// Its process has ended, or never will run.
    Ended {
        /// The exit code, where there was a process.
        code: Option<i32>,
        /// What Kubernetes says about it, as in `OOMKilled`.
        why: Option<String>,
    },
}

/// The pod of a stripe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StripePod {
    /// Its name.
    pub name: String,
    /// Its stripe's number, from 0 on.
    pub stripe: usize,
    /// How far it is.
    pub progress: PodProgress,
}

impl StripePod {
    /// `None` for a pod without a number.
    fn of(pod: Pod) -> Option<Self> {
        let stripe = pod.metadata.annotations?.get(INDEX)?.parse().ok()?;
        let status = pod.status.unwrap_or_default();
        let deletion = pod.metadata.deletion_timestamp;
        let container = status.container_statuses.unwrap_or_default().into_iter().next();
        let progress = match status.phase.as_deref() {
            Some("Running") => PodProgress::Running,
            Some("Succeeded" | "Failed") => {
                // Such a pod is there for a moment only, often without its log.
                let deleted = deletion.map(|_| "its pod was deleted".to_owned());
                ended(container, status.reason.or(deleted), status.message)
            }
            _ => PodProgress::Waiting(container.and_then(waits_for)),
        };
        Some(Self {
            name: pod.metadata.name?,
            stripe,
            progress,
        })
    }
}

fn waits_for(container: ContainerStatus) -> Option<(String, String)> {
    let waiting = container.state?.waiting?;
    Some((waiting.reason?, waiting.message.unwrap_or_default()))
}

fn ended(container: Option<ContainerStatus>, reason: Option<String>, message: Option<String>) -> PodProgress {
    let terminated = container
        .and_then(|container| container.state)
        .and_then(|state| state.terminated);
    let of_pod = reason.map(|reason| match message {
        Some(message) => format!("{reason}: {message}"),
        None => reason,
    });
    let of_process = || {
        let reason = terminated.as_ref()?.reason.clone()?;
        // These say no more than the exit code does.
        (reason != "Error" && reason != "Completed").then_some(reason)
    };
    PodProgress::Ended {
        why: of_pod.or_else(of_process),
        code: terminated.map(|terminated| terminated.exit_code),
    }
}

impl Cluster {
    /// The namespace that the kubeconfig's context names, or else `default`.
    #[must_use]
    pub fn default_namespace(&self) -> &str {
        self.client.default_namespace()
    }

    /// What time the API server has, in whole seconds.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn time(&self) -> Read<Timestamp> {
        let request = Request::get("/version")
            .body(Body::empty())
            .map_err(|error| ReadError(error.to_string()))?;
        let answer = read(self.client.send(request)).await?;
        let date = answer.headers().get(header::DATE);
        let time = date
            .and_then(|date| date.to_str().ok())
            .and_then(|date| rfc2822::DateTimeParser::new().parse_timestamp(date).ok());
        time.ok_or_else(|| ReadError("the API server's answers have no date".to_owned()))
    }

    /// Whether the user may do something in a namespace.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn may(&self, namespace: &str, permission: Permission) -> Read<bool> {
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

    /// Makes a Job.
    ///
    /// # Errors
    /// When the API server refuses it, or cannot be asked.
    pub async fn create_job(&self, namespace: &str, job: &Job) -> Read<()> {
        let api: Api<Job> = Api::namespaced(self.client.clone(), namespace);
        read(api.create(&PostParams::default(), job)).await.map(drop)
    }

    /// Deletes a Job, and its pods with it.
    ///
    /// # Errors
    /// When the API server refuses it, or cannot be asked.
    pub async fn delete_job(&self, namespace: &str, name: &str) -> Read<()> {
        let api: Api<Job> = Api::namespaced(self.client.clone(), namespace);
        read(api.delete(name, &DeleteParams::background()))
            .await
            .map(drop)
    }

    /// Whether all of a Job's pods have ended, or it is gone.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn job_has_ended(&self, namespace: &str, name: &str) -> Read<bool> {
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

    /// The pods of a Job that have a number.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn stripe_pods(&self, namespace: &str, job: &str) -> Read<Vec<StripePod>> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let of_job = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={job}"));
        let pods = read(api.list(&of_job)).await?;
        Ok(pods.items.into_iter().filter_map(StripePod::of).collect())
    }

    /// All that a pod has said.
    ///
    /// # Errors
    /// When the API server cannot be asked, or has it no more.
    pub async fn log(&self, namespace: &str, pod: &str) -> Read<String> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        read_within(LOG_PATIENCE, api.logs(pod, &LogParams::default())).await
    }

    /// All that a pod has said and will say, once it has ended, even when the pod is deleted meanwhile. Calls `heard` as
    /// soon as the pod can be heard. Waits for as long as it takes.
    ///
    /// # Errors
    /// When the API server cannot be asked, or has no log of the pod.
    pub async fn log_to_its_end(&self, namespace: &str, pod: &str, heard: impl FnOnce()) -> Read<String> {
        let follow = LogParams {
            follow: true,
            ..LogParams::default()
        };
        let request = kube::core::Request::new(Pod::url_path(&(), Some(namespace))).logs(pod, &follow);
        let request = request.map_err(|error| ReadError(error.to_string()))?;
        // On the heap: futures of requests are large.
        let answer = Box::pin(self.client.send(request.map(Body::from))).await;
        let answer = answer.map_err(|error| ReadError(describe(&error)))?;
        if !answer.status().is_success() {
            return Err(ReadError(format!("status {}", answer.status())));
        }
        heard();
        let (mut body, mut said) = (answer.into_body(), Vec::new());
        // A node may end it in any way when the container goes: what it told is told.
        while let Some(Ok(frame)) = body.frame().await {
            said.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
        }
        Ok(String::from_utf8_lossy(&said).into_owned())
    }
}
