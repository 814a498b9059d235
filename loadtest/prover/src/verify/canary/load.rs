//! The test `canary-load`: reads the counters of the canary and of the stable pods every second, while both get a share of all requests.

use std::{collections::BTreeMap, time::Duration};

use engine::{Addresses, Load, Plan};
use futures_util::future::join_all;
use tokio::time::{self, Instant, MissedTickBehavior, timeout};

use super::{
    compared::{Compared, Rules, Second, Shown, compare},
    counters::Counters,
    options::{Canary, CanaryOptions, combine},
    proportion::Proportion,
};
use crate::{
    cluster::{Cluster, ServingPod},
    verify::outcome::Judgement,
};

/// The number of stable pods that are read. More would show little more, and each is a request to the API server every second.
const STABLE_PODS: usize = 8;

/// The number of seconds in a row in which the canary may be not ready or unreadable. One read in ten may time out on a busy machine.
const UNKNOWN_SECONDS: usize = 5;

/// The time between two texts about the progress, in seconds.
const PROGRESS: usize = 10;

/// The time in which the requests in flight may end. The canary must go soon, if it is worse.
const DRAIN: Duration = Duration::from_secs(2);

/// The load that the test sends beside that of the users.
#[derive(Clone, Debug)]
pub struct CanaryProbe {
    /// The load. It must last until the deadline.
    pub plan: Plan,
    /// The addresses of its host.
    pub addresses: Addresses,
}

/// Compares every canary with its stable pods, until one is shown to be worse, or all are shown not to be.
///
/// # Errors
/// Returns an error if the load generator fails.
pub async fn canary_load(
    cluster: &Cluster,
    options: &CanaryOptions,
    probe: &CanaryProbe,
    deadline: Instant,
    on_progress: &mut (dyn FnMut(&str) + Send),
) -> anyhow::Result<Judgement> {
    let mut followed: Vec<Followed<'_>> = options.canaries.iter().map(Followed::new).collect();
    let rules = Rules::of(options.window_seconds, options.tolerance);
    let mut load = Load::start(probe.plan.clone(), &probe.addresses)?;
    let started = Instant::now();
    let mut ticks = time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut number = 0;
    let judged = loop {
        ticks.tick().await;
        let counts = load.snapshot().counts;
        let answered = Proportion {
            part: counts.failed,
            all: counts.failed + counts.succeeded,
        };
        join_all(
            followed
                .iter_mut()
                .map(|one| one.read(cluster, options, answered)),
        )
        .await;
        let compared: Vec<_> = followed
            .iter()
            .map(|one| {
                one.broken
                    .clone()
                    .map_or_else(|| Ok(compare(&one.seconds, &rules)), Err)
            })
            .collect();
        let is_worse = |found: &Result<Compared, String>| {
            found.as_ref().map_or(true, |found| found.shown == Shown::Worse)
        };
        let is_fine =
            |found: &Result<Compared, String>| matches!(found, Ok(found) if found.shown == Shown::NotWorse);
        let is_late = Instant::now() >= deadline;
        if is_late || compared.iter().any(is_worse) || compared.iter().all(is_fine) {
            let judged = followed.iter().zip(compared);
            break combine(
                judged
                    .map(|(one, found)| (one.canary, judge(found, started.elapsed())))
                    .collect(),
            );
        }
        number += 1;
        if number % PROGRESS == 0 {
            let missing = followed.iter().zip(&compared).filter_map(|(one, found)| {
                let Ok(Compared {
                    shown: Shown::Nothing(missing),
                    ..
                }) = found
                else {
                    return None;
                };
                Some(format!("{}: {missing}", one.canary.deployment))
            });
            on_progress(&format!(
                "not shown yet: {}",
                missing.collect::<Vec<_>>().join("; ")
            ));
        }
    };
    load.stop();
    // Those that take longer change nothing.
    if let Ok(drained) = timeout(DRAIN, load.drained()).await {
        drained?;
    }
    Ok(judged)
}

fn judge(found: Result<Compared, String>, took: Duration) -> Judgement {
    let seconds = took.as_secs_f64();
    let found = match found {
        Ok(found) => found,
        Err(reason) => {
            return Judgement::failed(reason, format!("after {seconds:.0} s")).with("observed", seconds, "s");
        }
    };
    let judged = match &found.shown {
        Shown::NotWorse => Judgement::passed(found.seen.join("; ")),
        Shown::Worse => Judgement::failed(
            "the canary is worse than the stable pods",
            format!("after {seconds:.0} s: {}", found.worse.join("; ")),
        ),
        Shown::Nothing(missing) => Judgement::failed(
            "the canary is not shown to be as good as the stable pods before the deadline",
            missing.clone(),
        ),
    };
    let mut judged = judged
        .with("observed", seconds, "s")
        .with("requests to the canary", found.canary.requests, "")
        .with(
            "requests to the stable pods that were read",
            found.stable.requests,
            "",
        );
    for (name, average) in [
        ("average response time of the canary", found.canary.average_ms()),
        (
            "average response time of the stable pods",
            found.stable.average_ms(),
        ),
    ] {
        if let Some(average) = average {
            judged = judged.with(name, average, "ms");
        }
    }
    judged
}

/// A canary, and what was read of it and of its stable pods.
struct Followed<'a> {
    canary: &'a Canary,
    seconds: Vec<Second>,
    /// The last counters of each pod.
    last: BTreeMap<String, Counters>,
    /// The requests of the test's own load until the last second, and those that failed although no pod counted a failure.
    unseen: Proportion,
    /// The failures that the pods have counted.
    counted_failures: u64,
    /// The seconds in a row without counters of the canary, and why.
    unknown: usize,
    /// Why the canary cannot pass any more.
    broken: Option<String>,
}

impl<'a> Followed<'a> {
    fn new(canary: &'a Canary) -> Self {
        Self {
            canary,
            seconds: Vec::new(),
            last: BTreeMap::new(),
            unseen: Proportion::default(),
            counted_failures: 0,
            unknown: 0,
            broken: None,
        }
    }

    /// Reads the pods once. `own` are the answered requests of the test's own load, and those that failed.
    async fn read(&mut self, cluster: &Cluster, options: &CanaryOptions, own: Proportion) {
        match self.grown(cluster, options).await {
            Ok(Some((canary, stable))) => {
                self.unknown = 0;
                let failures = |counters: &Counters| counters.failures().part + counters.refusals().part;
                self.counted_failures += failures(&canary) + failures(&stable);
                let unseen = Proportion {
                    part: own.part.saturating_sub(self.counted_failures),
                    all: own.all,
                };
                let second = Second {
                    canary,
                    stable,
                    unseen: Proportion {
                        part: unseen.part.saturating_sub(self.unseen.part),
                        all: unseen.all.saturating_sub(self.unseen.all),
                    },
                };
                self.unseen = unseen;
                self.seconds.push(second);
            }
            Ok(None) => {}
            Err(reason) => {
                self.unknown += 1;
                if self.unknown >= UNKNOWN_SECONDS {
                    self.broken = Some(format!("for {UNKNOWN_SECONDS} seconds, {reason}"));
                }
            }
        }
    }

    /// Returns how much the counters of the canary and of the stable pods grew since the last read; `None` after the first.
    async fn grown(
        &mut self,
        cluster: &Cluster,
        options: &CanaryOptions,
    ) -> Result<Option<(Counters, Counters)>, String> {
        let Canary { deployment, pod } = self.canary;
        let namespace = &options.namespace;
        let read = |error: crate::cluster::ReadError| format!("the cluster could not be read: {error}");
        let found = cluster.serving_pod(namespace, pod).await.map_err(read)?;
        if let Some(reason) = gone(found.as_ref()) {
            self.broken = Some(reason.clone());
            return Err(reason);
        }
        let canary = found
            .filter(|pod| pod.state.ready)
            .ok_or("the canary was not ready")?;
        let workload = cluster.workload(namespace, deployment).await.map_err(read)?;
        let workload = workload.ok_or_else(|| format!("the Deployment {deployment} does not exist"))?;
        let stable = cluster
            .stable_pods(namespace, &workload.selector)
            .await
            .map_err(read)?;
        if stable.is_empty() {
            return Err("no stable pod was ready".to_owned());
        }
        let pods: Vec<_> = [canary]
            .into_iter()
            .chain(stable.into_iter().take(STABLE_PODS))
            .collect();
        let pages = join_all(pods.iter().map(|pod| counters(cluster, options, pod))).await;
        let (mut own, mut others) = (None, None::<Counters>);
        for (ServingPod { state, .. }, page) in pods.iter().zip(pages) {
            // A stable pod may stop in the meantime.
            let Ok(now) = page else { continue };
            let before = self.last.insert(state.name.clone(), now.clone());
            let Some(grown) = before.and_then(|before| now.since(&before)) else {
                continue;
            };
            if state.name == *pod {
                own = Some(grown);
            } else {
                others.get_or_insert_default().add(&grown);
            }
        }
        if !self.last.contains_key(pod) {
            return Err("the counters of the canary could not be read".to_owned());
        }
        Ok(own.zip(others))
    }
}

/// Returns why the canary does not serve any more.
fn gone(canary: Option<&ServingPod>) -> Option<String> {
    match canary {
        None => Some("the canary does not exist any more".to_owned()),
        Some(pod) if pod.restarts > 0 => {
            let end = pod.last_end.as_deref().unwrap_or("unknown");
            Some(format!("the canary has restarted: it ended with {end}"))
        }
        Some(pod) if pod.state.terminating => Some("the canary terminates".to_owned()),
        Some(_) => None,
    }
}

async fn counters(cluster: &Cluster, options: &CanaryOptions, pod: &ServingPod) -> Result<Counters, String> {
    let port = pod.admin_port.ok_or("no port named admin")?.to_string();
    let page = cluster
        .pod_metrics(&options.namespace, &pod.state.name, &port)
        .await;
    Counters::parse(&page.map_err(|error| error.to_string())?, &options.series)
}
