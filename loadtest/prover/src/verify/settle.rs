//! The test `settled`: sends a small steady load, reads the HPAs every second, and waits until two consecutive windows are equal.

use std::{collections::BTreeMap, time::Duration};

use engine::{Addresses, Load, Plan};
use tokio::{
    task::JoinSet,
    time::{self, Instant, MissedTickBehavior},
};

use super::{
    outcome::Judgement,
    windows::{Comparison, HpaSecond, Replicas, Second, Tolerance, compare},
};
use crate::cluster::{Cluster, Hpa, ReadResult};

/// The parameters of the test.
#[derive(Clone, Debug)]
pub struct SettleOptions {
    /// The namespace of the HPAs.
    pub namespace: String,
    /// When two windows count as equal.
    pub tolerance: Tolerance,
    /// The load whose response times are compared. It must last until the deadline.
    pub plan: Plan,
    /// The addresses of the host of the load.
    pub addresses: Addresses,
}

/// Waits until response time, load and replicas have settled. Calls `on_progress` after each comparison with what has not.
///
/// # Errors
/// Returns an error if the load generator fails.
pub async fn settle(
    cluster: &Cluster,
    options: &SettleOptions,
    deadline: Instant,
    on_progress: &mut (dyn FnMut(&str) + Send),
) -> anyhow::Result<Judgement> {
    let hpas = match cluster.hpas(&options.namespace).await {
        Ok(hpas) if hpas.is_empty() => {
            let reason = format!("there is no HPA in {}", options.namespace);
            return Ok(Judgement::failed(reason, "nothing scales the pair"));
        }
        Ok(hpas) => hpas,
        Err(error) => return Ok(Judgement::failed("the HPAs cannot be read", error.to_string())),
    };
    let names: Vec<String> = hpas.into_iter().map(|hpa| hpa.name).collect();
    let mut load = Load::start(options.plan.clone(), &options.addresses)?;
    let started = Instant::now();
    let mut ticks = time::interval_at(started + Duration::from_secs(1), Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut seconds, mut failed_before, mut last) = (Vec::new(), 0, None);
    while Instant::now() < deadline {
        ticks.tick().await;
        let hpas = read(cluster, &options.namespace, &names).await;
        let snapshot = load.snapshot();
        seconds.push(Second {
            latency_ms: snapshot.latency.p50,
            failed: snapshot.counts.failed - failed_before,
            hpas,
        });
        failed_before = snapshot.counts.failed;
        if !options.tolerance.is_due(seconds.len()) {
            continue;
        }
        let Some(found) = compare(&seconds, &names, &options.tolerance) else {
            continue;
        };
        let is_settled = found.is_settled();
        if !is_settled {
            on_progress(&format!("not settled: {}", found.problems.join("; ")));
        }
        last = Some(found);
        if is_settled {
            break;
        }
    }
    load.stop();
    load.drained().await?;
    Ok(judge(last, started.elapsed(), &options.tolerance))
}

/// Reads every HPA concurrently. An HPA that cannot be read has no entry.
async fn read(cluster: &Cluster, namespace: &str, names: &[String]) -> BTreeMap<String, HpaSecond> {
    let mut reads = JoinSet::new();
    for name in names {
        let (cluster, namespace, name) = (cluster.clone(), namespace.to_owned(), name.clone());
        reads.spawn(async move {
            let found = read_hpa(&cluster, &namespace, &name).await;
            (name, found)
        });
    }
    let found = reads.join_all().await.into_iter();
    found
        .filter_map(|(name, found)| Some((name, found.ok().flatten()?)))
        .collect()
}

async fn read_hpa(cluster: &Cluster, namespace: &str, name: &str) -> ReadResult<Option<HpaSecond>> {
    let Some(hpa) = cluster.hpa(namespace, name).await? else {
        return Ok(None);
    };
    let Some(workload) = cluster.workload(namespace, &hpa.target_name).await? else {
        return Ok(None);
    };
    Ok(Some(HpaSecond {
        replicas: Replicas {
            desired: hpa.desired,
            current: workload.replicas,
            ready: workload.ready,
        },
        rate: rate(cluster, namespace, &hpa, &workload.selector).await,
    }))
}

/// Returns the sum of the HPA's metric; `None` if it has no value.
async fn rate(cluster: &Cluster, namespace: &str, hpa: &Hpa, selector: &str) -> Option<f64> {
    let values: Vec<f64> = if let Some(metric) = &hpa.metric {
        let samples = cluster.pod_samples(namespace, metric, selector).await.ok()?;
        samples.into_iter().map(|sample| sample.value).collect()
    } else {
        let metric = hpa.external_metric.as_ref()?;
        let values = cluster.external_values(namespace, metric).await.ok()?;
        values.into_iter().map(|value| value.value).collect()
    };
    values.into_iter().reduce(|one, other| one + other)
}

fn judge(last: Option<Comparison>, took: Duration, tolerance: &Tolerance) -> Judgement {
    let window = tolerance.window;
    let Some(found) = last else {
        let reason = format!("fewer than two windows of {window} s were observed before the deadline");
        return Judgement::failed(reason, format!("{:.0} s were observed", took.as_secs_f64()));
    };
    let judged = if found.is_settled() {
        Judgement::passed(found.seen.join("; "))
    } else {
        let reason = format!("the last two windows of {window} s before the deadline differ");
        Judgement::failed(reason, found.problems.join("; "))
    };
    let mut judged = judged.with("observed", took.as_secs_f64(), "s");
    if let Some(latency) = found.latency {
        judged = judged
            .with("response time, median of the first window", latency.first, "ms")
            .with("response time, median of the second window", latency.second, "ms");
    }
    for (hpa, rate) in found.rates {
        judged = judged
            .with(format!("load of {hpa}, first window"), rate.first, "requests/s")
            .with(format!("load of {hpa}, second window"), rate.second, "requests/s");
    }
    judged
}
