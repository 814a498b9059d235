//! The test `canary-load`: reads the counters of the canary and of the stable pods every second, while both get a share of all requests.

use std::{collections::BTreeMap, time::Duration};

use engine::{Addresses, Load, Plan};
use futures_util::future::join_all;
use tokio::time::{self, Instant, MissedTickBehavior, timeout};

use super::{
    compared::{Compared, Rules, Second, Shown, compare, unanswered},
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
        let snapshot = load.snapshot();
        let counts = snapshot.counts;
        let own = Proportion {
            part: snapshot.unanswered,
            all: (counts.failed + counts.succeeded).saturating_sub(counts.dropped),
        };
        let own = unanswered(own, &rules);
        join_all(followed.iter_mut().map(|one| one.read(cluster, options))).await;
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
        let is_worse = own.0 == Shown::Worse || compared.iter().any(is_worse);
        let is_fine = own.0 == Shown::NotWorse && compared.iter().all(is_fine);
        if Instant::now() >= deadline || is_worse || is_fine {
            let judged = followed.iter().zip(compared);
            let judged = combine(
                judged
                    .map(|(one, found)| (one.canary, one.judge(found, started.elapsed())))
                    .collect(),
            );
            break with_own(judged, own);
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
                let missing = one.not_compared.as_ref().unwrap_or(missing);
                Some(format!("{}: {missing}", one.canary.deployment))
            });
            let own = match own.0 {
                Shown::Nothing(missing) => Some(missing),
                _ => None,
            };
            on_progress(&format!(
                "not shown yet: {}",
                missing.chain(own).collect::<Vec<_>>().join("; ")
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

/// Adds what the test's own load shows. It has no canary: any pod may be the reason.
fn with_own(mut judged: Judgement, (shown, text): (Shown, String)) -> Judgement {
    let failure = match shown {
        Shown::NotWorse => return judged,
        Shown::Worse => "requests of the test's own load get no response",
        // Another comparison may have ended the test before this one could.
        Shown::Nothing(_) if judged.failure.is_some() => return judged,
        Shown::Nothing(_) => {
            "it is not shown before the deadline that all requests of the test's own load get a response"
        }
    };
    let failures = judged.failure.into_iter().chain([failure.to_owned()]);
    judged.failure = Some(failures.collect::<Vec<_>>().join("; "));
    judged.seen = format!("{text}; {}", judged.seen);
    judged
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

/// Why nothing was read.
enum Unread {
    /// This counts against the canary.
    Canary(String),
    /// This says nothing about the canary.
    Other(String),
}

/// A canary, and what was read of it and of its stable pods.
struct Followed<'a> {
    canary: &'a Canary,
    seconds: Vec<Second>,
    /// The last counters of each pod.
    last: BTreeMap<String, Counters>,
    /// The seconds in a row in which the canary was not ready or its counters could not be read.
    unknown: usize,
    /// Why nothing was compared in the last second, although the canary may be good.
    not_compared: Option<String>,
    /// Why the canary cannot pass any more.
    broken: Option<String>,
}

impl<'a> Followed<'a> {
    fn new(canary: &'a Canary) -> Self {
        Self {
            canary,
            seconds: Vec::new(),
            last: BTreeMap::new(),
            unknown: 0,
            not_compared: None,
            broken: None,
        }
    }

    /// Reads the pods once.
    async fn read(&mut self, cluster: &Cluster, options: &CanaryOptions) {
        let grown = self.grown(cluster, options).await;
        self.not_compared = None;
        match grown {
            Ok(Some((canary, stable))) => {
                self.unknown = 0;
                self.seconds.push(Second { canary, stable });
            }
            Ok(None) => {}
            Err(Unread::Canary(reason)) => {
                self.unknown += 1;
                if self.unknown >= UNKNOWN_SECONDS {
                    self.broken = Some(format!("for {UNKNOWN_SECONDS} seconds, {reason}"));
                }
            }
            // The next read may get an answer.
            Err(Unread::Other(reason)) => self.not_compared = Some(reason),
        }
    }

    /// Judges the canary at the end of the test.
    fn judge(&self, found: Result<Compared, String>, took: Duration) -> Judgement {
        match (&found, &self.not_compared) {
            (
                Ok(Compared {
                    shown: Shown::Nothing(_),
                    ..
                }),
                Some(reason),
            ) => Judgement::failed(
                "the canary could not be compared with the stable pods before the deadline",
                reason.clone(),
            ),
            _ => judge(found, took),
        }
    }

    /// Returns how much the counters of the canary and of the stable pods grew since the last read; `None` after the first.
    async fn grown(
        &mut self,
        cluster: &Cluster,
        options: &CanaryOptions,
    ) -> Result<Option<(Counters, Counters)>, Unread> {
        let Canary { deployment, pod } = self.canary;
        let namespace = &options.namespace;
        let read = |error: crate::cluster::ReadError| {
            Unread::Other(format!("the cluster could not be read: {error}"))
        };
        let found = cluster.serving_pod(namespace, pod).await.map_err(read)?;
        if let Some(reason) = gone(found.as_ref()) {
            self.broken = Some(reason.clone());
            return Err(Unread::Canary(reason));
        }
        let canary = found
            .filter(|pod| pod.state.ready)
            .ok_or_else(|| Unread::Canary("the canary was not ready".to_owned()))?;
        let workload = cluster.workload(namespace, deployment).await.map_err(read)?;
        let workload =
            workload.ok_or_else(|| Unread::Other(format!("the Deployment {deployment} does not exist")))?;
        let stable = cluster
            .stable_pods(namespace, &workload.selector)
            .await
            .map_err(read)?;
        if stable.is_empty() {
            return Err(Unread::Other("no stable pod was ready".to_owned()));
        }
        let pods: Vec<_> = [canary]
            .into_iter()
            .chain(stable.into_iter().take(STABLE_PODS))
            .collect();
        let pages = join_all(pods.iter().map(|pod| counters(cluster, options, pod))).await;
        let is_read = |index: usize| pages.get(index).is_some_and(Result::is_ok);
        if !is_read(0) {
            let reason = "the counters of the canary could not be read".to_owned();
            // If those of no pod can be read, the reason is not the canary.
            return Err(if (1..pods.len()).any(is_read) {
                Unread::Canary(reason)
            } else {
                Unread::Other("the counters of no pod could be read".to_owned())
            });
        }
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
