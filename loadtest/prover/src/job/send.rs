//! Sends a load from several pods: creates the Job, follows it, and merges the results.

use std::time::Duration;

use anyhow::Context;
use engine::{BadConfiguration, Interrupt, LoadReport, Plan, SharedLoad, merge};
use jiff::Timestamp;
use tokio::time::Instant;

use super::{
    follow::Follower,
    manifest::{self, Manifest},
    pod_input::{LoadFlag, PodInput},
};
use crate::cluster::{Cluster, Permission, quantity::Quantity};

/// The time from the end of the last request until the pod has stopped and the API server reports it.
const GRACE: Duration = Duration::from_secs(30);

/// The maximum duration of the load, multiplied by the threads of a pod. A kubelet keeps 10 MiB of a pod's log, and the
/// result needs about 2 KiB per second and thread.
const MAX_DURATION: Duration = Duration::from_hours(1);

/// The permissions that the command needs. They are checked before the load, because without them its result would be
/// lost.
const PERMISSIONS: [Permission; 5] = [
    ("create", "batch", "jobs", ""),
    ("get", "batch", "jobs", ""),
    ("delete", "batch", "jobs", ""),
    ("list", "", "pods", ""),
    ("get", "", "pods", "log"),
];

/// The options of a load that a Job sends.
#[derive(Debug)]
pub struct JobOptions {
    /// The load of all pods together.
    pub plan: Plan,
    /// The URL of the requests; `None` if one of `flags` names the targets.
    pub url: Option<String>,
    /// The flags of the load for the pods.
    pub flags: Vec<LoadFlag>,
    /// The number of pods that send the load, one stripe each.
    pub stripes: u64,
    /// The image that the pods run.
    pub image: String,
    /// The context of the kubeconfig; `None` for the current one.
    pub context: Option<String>,
    /// The namespace of the pods; `None` for the namespace of the context.
    pub namespace: Option<String>,
    /// The time for the pods to start before the first request is due.
    pub start_in: Duration,
    /// The CPU request of each pod.
    pub cpu: Quantity,
    /// The Secret with the certificate that the pods present to the server, and its key.
    pub cert_secret: Option<String>,
    /// Whether the Job remains after the load.
    pub keep: bool,
}

/// The result of a Job.
#[derive(Debug)]
pub struct JobOutcome {
    /// The merged report of all stripes.
    pub report: LoadReport,
    /// Whether the user stopped the load.
    pub interrupted: bool,
}

/// Sends the load, and passes each line of progress to `on_progress`.
///
/// # Errors
/// Returns [`BadConfiguration`] if the load cannot start. Any other error is a fault of this program or machine.
pub async fn send(
    options: &JobOptions,
    interrupt: &mut Interrupt,
    on_progress: &mut (dyn FnMut(&str) + Send),
) -> anyhow::Result<JobOutcome> {
    let plan = &options.plan;
    let load_time = plan.warm_up + plan.schedule.duration() + plan.timeout;
    let threads = plan.threads.unwrap_or(1);
    let thread_time = plan.schedule.duration() * u32::try_from(threads).unwrap_or(u32::MAX);
    if thread_time > MAX_DURATION {
        return Err(BadConfiguration::new(
            "the result is too long for the log of a pod: the load may last at most an hour, divided by --threads",
        )
        .into());
    }
    let input = PodInput::read(&options.flags)?;
    let cluster = Cluster::connect(options.context.as_deref()).await?;
    let namespace = options
        .namespace
        .as_deref()
        .unwrap_or(cluster.default_namespace())
        .to_owned();
    check_permissions(&cluster, &namespace).await?;

    let now = cluster.time().await.map_err(BadConfiguration::new)?;
    let start = Instant::now() + options.start_in;
    let load = SharedLoad::new(plan, options.stripes, now + options.start_in)
        .as_read()
        .context("reading the plan")?;
    let name = random_name();
    let job = manifest::job(&Manifest {
        name: &name,
        image: &options.image,
        cpu: &options.cpu,
        cert_secret: options.cert_secret.as_deref(),
        url: options.url.as_deref(),
        input: &input,
        load: &load,
        threads,
        deadline: options.start_in + load_time + 2 * GRACE,
        drain: plan.timeout + GRACE,
        keep: options.keep,
    });
    if let Err(error) = cluster.create_job(&namespace, &job).await {
        // A request that timed out may still have created the Job.
        drop(cluster.delete_job(&namespace, &name).await);
        return Err(BadConfiguration::new(format!("the Job cannot be created: {error}")).into());
    }
    on_progress(&format!(
        "Job {namespace}/{name}: {} stripes, start at {}",
        options.stripes, load.start_at
    ));
    let mut follower = Follower::new(&cluster, &namespace, &name, options.stripes, on_progress);
    let finished = tokio::select! {
        finished = follower.wait_until_finished(start, start + load_time + GRACE) => Some(finished),
        () = interrupt.requested() => None,
    };
    let stopped_after = finished
        .is_none()
        .then(|| Instant::now().saturating_duration_since(start));
    if stopped_after.is_some() {
        follower.stop(plan.timeout + GRACE).await;
    } else if !options.keep {
        follower.delete().await;
    }
    finished.unwrap_or(Ok(()))?;
    Ok(JobOutcome {
        report: merge(&load, follower.into_parts()?, stopped_after),
        interrupted: stopped_after.is_some(),
    })
}

async fn check_permissions(cluster: &Cluster, namespace: &str) -> anyhow::Result<()> {
    for permission in PERMISSIONS {
        let allowed = cluster
            .is_allowed(namespace, permission)
            .await
            .map_err(BadConfiguration::new)?;
        if !allowed {
            let (verb, _, resource, subresource) = permission;
            let slash = if subresource.is_empty() { "" } else { "/" };
            return Err(BadConfiguration::new(format!(
                "you may not {verb} {resource}{slash}{subresource} in the namespace {namespace}"
            ))
            .into());
        }
    }
    Ok(())
}

/// Returns a new name for a Job.
fn random_name() -> String {
    let random: String = (0..6).map(|_| fastrand::lowercase()).collect();
    format!("loadtest-{}-{random}", Timestamp::now().as_second())
}
