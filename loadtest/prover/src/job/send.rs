//! Sends a load from several pods: creates the Job, follows it, and puts the results together.

use std::time::Duration;

use anyhow::Context;
use engine::{BadConfiguration, Interrupt, LoadReport, Plan, SharedLoad, merge};
use jiff::Timestamp;
use tokio::time::Instant;

use super::{
    files::{Files, Word},
    follow::Follower,
    manifest::{self, Manifest},
};
use crate::cluster::{Cluster, Permission, quantity::Quantity};

/// From the end of the last request until a pod has ended, and is seen to.
const GRACE: Duration = Duration::from_secs(30);

/// The longest load of a thread whose result comes back whole: a kubelet keeps 10 MiB of a pod's log, of which a second
/// takes some 2 KiB.
const LONGEST: Duration = Duration::from_hours(1);

/// What the user must be allowed to do, asked for before the load: its result would be out of reach.
const PERMISSIONS: [Permission; 5] = [
    ("create", "batch", "jobs", ""),
    ("get", "batch", "jobs", ""),
    ("delete", "batch", "jobs", ""),
    ("list", "", "pods", ""),
    ("get", "", "pods", "log"),
];

/// What a Job is to send, and how.
#[derive(Debug)]
pub struct JobOptions {
    /// The load of all pods together.
    pub plan: Plan,
    /// Where requests go, unless a flag in `words` says it.
    pub url: Option<String>,
    /// The flags of the load, for the pods.
    pub words: Vec<Word>,
    /// How many pods send the load.
    pub stripes: u64,
    /// The image that the pods run.
    pub image: String,
    /// The kubeconfig's context; `None` for its current one.
    pub context: Option<String>,
    /// The namespace of the pods; `None` for the context's.
    pub namespace: Option<String>,
    /// How long the pods have to come up before the first request is due.
    pub start_in: Duration,
    /// The CPU request of each pod.
    pub cpu: Quantity,
    /// Whether the Job stays after the load.
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

/// Sends the load. Progress goes to `on_progress`, a line at a time.
///
/// # Errors
/// [`BadConfiguration`] before any load; anything else is a fault of this program or machine.
pub async fn send(
    options: &JobOptions,
    interrupt: &mut Interrupt,
    on_progress: &mut (dyn FnMut(&str) + Send),
) -> anyhow::Result<JobOutcome> {
    let plan = &options.plan;
    let takes = plan.schedule.duration() + plan.timeout;
    let threads = plan.threads.unwrap_or(1);
    let of_all_threads = plan.schedule.duration() * u32::try_from(threads).unwrap_or(u32::MAX);
    if of_all_threads > LONGEST {
        return Err(BadConfiguration::new(
            "a Job's result is too long for a pod's log: at most an hour, divided by the --threads of a pod",
        )
        .into());
    }
    let carried = Files::of(&options.words)?;
    let cluster = Cluster::connect(options.context.as_deref()).await?;
    let namespace = options
        .namespace
        .as_deref()
        .unwrap_or(cluster.default_namespace())
        .to_owned();
    permitted(&cluster, &namespace).await?;

    let now = cluster.time().await.map_err(BadConfiguration::new)?;
    let started = Instant::now() + options.start_in;
    let load = SharedLoad::of(plan, options.stripes, now + options.start_in)
        .as_read()
        .context("reading the plan")?;
    let name = name();
    let job = manifest::job(&Manifest {
        name: &name,
        image: &options.image,
        cpu: &options.cpu,
        url: options.url.as_deref(),
        carried: &carried,
        load: &load,
        threads,
        deadline: options.start_in + takes + 2 * GRACE,
        drain: plan.timeout + GRACE,
        keep: options.keep,
    });
    if let Err(refusal) = cluster.create_job(&namespace, &job).await {
        // What was not answered in time may have been done.
        drop(cluster.delete_job(&namespace, &name).await);
        return Err(BadConfiguration::new(format!("the Job cannot be made: {refusal}")).into());
    }
    on_progress(&format!(
        "Job {namespace}/{name}: {} stripes, from {} on",
        options.stripes, load.start_at
    ));
    let mut follower = Follower::new(&cluster, &namespace, &name, options.stripes, on_progress);
    let ended = tokio::select! {
        ended = follower.until_ended(started, started + takes + GRACE) => Some(ended),
        () = interrupt.requested() => None,
    };
    let stopped_after = ended
        .is_none()
        .then(|| Instant::now().saturating_duration_since(started));
    if stopped_after.is_some() {
        follower.stop(plan.timeout + GRACE).await;
    } else if !options.keep {
        follower.delete().await;
    }
    ended.unwrap_or(Ok(()))?;
    Ok(JobOutcome {
        report: merge(&load, follower.into_parts()?, stopped_after),
        interrupted: stopped_after.is_some(),
    })
}

async fn permitted(cluster: &Cluster, namespace: &str) -> anyhow::Result<()> {
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

/// Another one each time.
fn name() -> String {
    let random: String = (0..6).map(|_| fastrand::lowercase()).collect();
    format!("loadtest-{}-{random}", Timestamp::now().as_second())
}
