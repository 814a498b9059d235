//! `loadtest job`: a load from several pods, by what Kubernetes has: an indexed Job starts the stripes, each waits for
//! their common start, and its result is the last line of its pod's log.

mod files;
mod follow;
mod manifest;
mod stop;

use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use tokio::time::Instant;

pub use self::manifest::{Manifest, job as manifest};
use self::{files::Files, follow::Follower};
use crate::{
    cli::JobArguments,
    cluster::{Cluster, Permission},
    exit::{BadConfiguration, Exit},
    load::{SharedLoad, merge},
    run::{MAX_LAG, conclude},
    signals::Interrupt,
};

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

/// Carries out the command. Progress goes to standard error, the report to standard output.
///
/// # Errors
/// [`BadConfiguration`] before any load; anything else is a fault of this program or machine.
pub async fn run(arguments: &JobArguments, mut interrupt: Interrupt) -> anyhow::Result<Exit> {
    let task = &arguments.task;
    let plan = task.plan_in_stripes(arguments.stripes)?;
    let takes = plan.schedule.duration() + plan.timeout;
    let threads = plan.threads.unwrap_or(1);
    let of_all_threads = plan.schedule.duration() * u32::try_from(threads).unwrap_or(u32::MAX);
    if of_all_threads > LONGEST {
        return Err(BadConfiguration::new(
            "a Job's result is too long for a pod's log: at most an hour, divided by the --threads of a pod",
        )
        .into());
    }
    let files = task.result.open()?;
    let carried = Files::of(&arguments.words)?;
    let cluster = Cluster::connect(arguments.context.as_deref()).await?;
    let namespace = arguments
        .namespace
        .as_deref()
        .unwrap_or(cluster.default_namespace())
        .to_owned();
    permitted(&cluster, &namespace).await?;

    let now = cluster.time().await.map_err(BadConfiguration::new)?;
    let started = Instant::now() + arguments.start_in;
    let load = SharedLoad::of(&plan, arguments.stripes, now + arguments.start_in)
        .as_read()
        .context("reading the plan")?;
    let name = name();
    let job = manifest::job(&Manifest {
        name: &name,
        image: &arguments.image,
        cpu: &arguments.cpu,
        url: task.url.as_deref(),
        carried: &carried,
        load: &load,
        threads,
        deadline: arguments.start_in + takes + 2 * GRACE,
        drain: plan.timeout + GRACE,
        keep: arguments.keep,
    });
    if let Err(refusal) = cluster.create_job(&namespace, &job).await {
        // What was not answered in time may have been done.
        drop(cluster.delete_job(&namespace, &name).await);
        return Err(BadConfiguration::new(format!("the Job cannot be made: {refusal}")).into());
    }
    eprintln!(
        "Job {namespace}/{name}: {} stripes, from {} on",
        arguments.stripes, load.start_at
    );
    let mut follower = Follower::new(&cluster, &namespace, &name, arguments.stripes);
    let ended = tokio::select! {
        ended = follower.until_ended(started, started + takes + GRACE) => Some(ended),
        () = interrupt.requested() => None,
    };
    let stopped_after = ended
        .is_none()
        .then(|| Instant::now().saturating_duration_since(started));
    if stopped_after.is_some() {
        follower.stop(plan.timeout + GRACE).await;
    } else if !arguments.keep {
        delete(&cluster, &namespace, &name).await;
    }
    ended.unwrap_or(Ok(()))?;
    let bounds = task.load.bounds(task.result.max_failed(), MAX_LAG);
    let report = merge(&load, follower.into_parts()?, stopped_after);
    conclude(&report, &bounds, &task.result, files, stopped_after.is_some())
}

async fn permitted(cluster: &Cluster, namespace: &str) -> anyhow::Result<()> {
    for permission in PERMISSIONS {
        let allowed = cluster
            .may(namespace, permission)
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

async fn delete(cluster: &Cluster, namespace: &str, name: &str) {
    if let Err(error) = cluster.delete_job(namespace, name).await {
        eprintln!(
            "the Job could not be deleted ({error}); it ends by itself, or by `kubectl --namespace {namespace} delete job {name}`"
        );
    }
}
