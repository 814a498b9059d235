//! The command: reads the HPAs, refuses what could prove nothing, checks the chain, drives, judges, writes.

mod lines;
mod suite;
mod text;

use std::time::Duration;

use anyhow::Context;
use engine::{
    BadConfiguration, Bounds, Interrupt, Plan, Schedule, probe,
    units::{Rate, short},
};
use prover::{
    chain::{Diagnosis, wait_until_healthy},
    cluster::{Cluster, Hpa},
    prove::{
        Deadlines, Expected, Progress, Recording, ScaleConfig, ScaleReport, ScaleRun, ScaleVerdict, Setup,
        Timeline, check_tail, drive, predict, safe_rate,
    },
};

pub use self::text::summary;
use self::{lines::Lines, suite::suite};
use super::chain;
use crate::{
    exit::Exit,
    options::{ScaleOptions, Step},
    output, page,
};

/// Connections of the step for each request of a second, where the user does not say. A Service picks a pod for each
/// connection, so that few of them load the pods unevenly; the pods are scraped at different times, so that every move of
/// a connection is noise in the sum that the HPA sees: docs/scaling.md has it in numbers.
const CONNECTIONS_PER_RATE: f64 = 2.0;

/// As many as a step opens by itself. Kept for 6 s, these are some 170 new ones a second; 300 a second stalled a node of two
/// cores.
const MOST_CONNECTIONS: usize = 1000;

/// How long the probe before the load waits for a connection.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);

/// On top of the longest that a load is needed for.
const SLACK: Duration = Duration::from_mins(1);

/// On top of the HPA's own stabilisation: its period, the metric's window, and the pods' own end.
const SCALE_DOWN_SLACK: Duration = Duration::from_mins(2);

/// The most lag of the generator, where the user sets no bound. The rate is what scaling follows, and on a small machine
/// pods that start take the processor from everybody for a moment; requests late by this still fall in their second.
const MAX_LAG: Duration = Duration::from_millis(250);

/// Carries out the command. The timeline goes to standard output.
///
/// # Errors
/// [`BadConfiguration`] before any load; anything else is a fault of this program or machine.
pub async fn run(options: ScaleOptions, mut interrupt: Interrupt) -> anyhow::Result<Exit> {
    let prepared = tokio::select! {
        prepared = prepare(&options) => prepared?,
        () = interrupt.requested() => return Ok(Exit::Interrupted),
    };
    let Prepared {
        cluster,
        setup,
        config,
    } = prepared;
    announce(&setup, &config)?;
    let bounds = Bounds {
        max_lag: options.max_lag.unwrap_or(MAX_LAG),
        max_failed: options.max_failed,
    };
    let mut runs = Vec::new();
    for number in 1..=options.repeat {
        if options.repeat > 1 {
            output::print(&format!("run {number} of {}\n", options.repeat))?;
        }
        let chains = tokio::select! {
            chains = chains(&options, &cluster, &setup.expected) => chains,
            () = interrupt.requested() => Vec::new(),
        };
        let recording = if !interrupt.is_requested() && chains.iter().all(Diagnosis::is_healthy) {
            let mut lines = Lines::default();
            let mut show = |progress: Progress<'_>| lines.show(progress, &setup.expected);
            drive(&cluster, &setup, &mut interrupt, &mut show).await?
        } else {
            // With a broken chain, load would only show that it does not scale; the chain says why.
            Recording::without_load(
                Timeline::new(setup.expected.clone(), setup.deadlines),
                interrupt.is_requested(),
            )
        };
        // What kept the load away would keep it away again.
        let goes_on = recording.step.is_some() && !recording.interrupted;
        runs.push(ScaleRun::of(chains, recording, bounds, &options.thresholds));
        if !goes_on {
            break;
        }
    }
    let report = ScaleReport::of(config, runs);
    if let Some(file) = options.json {
        let encoded = serde_json::to_string_pretty(&report).context("encoding the report")?;
        file.write(format!("{encoded}\n").as_bytes())?;
    }
    if let Some(file) = options.html {
        file.write(page::render_scale(&report)?.as_bytes())?;
    }
    options.reports.write(&suite(&report))?;
    output::print(&summary(&report))?;
    Ok(exit(report.verdict))
}

struct Prepared {
    cluster: Cluster,
    setup: Setup,
    config: ScaleConfig,
}

async fn prepare(options: &ScaleOptions) -> anyhow::Result<Prepared> {
    let cluster = Cluster::connect(options.context.as_deref()).await?;
    let (rate, expected) = expectations(options, &cluster).await?;
    let tail = options.tail_rate;
    for one in &expected {
        let share = one.rate / rate.as_per_second();
        let tail = tail.map_or(0.0, |tail| tail.as_per_second() * share);
        check_tail(one, tail).map_err(BadConfiguration::new)?;
    }
    let stabilisation = expected
        .iter()
        .map(|one| one.scale_down_stabilisation)
        .max()
        .unwrap_or_default();
    let scale_down = options
        .scale_down_deadline
        .unwrap_or(stabilisation + SCALE_DOWN_SLACK);
    let addresses = probe(options.mix(), &options.plan.network, PROBE_PATIENCE)
        .await
        .map_err(BadConfiguration::new)?;
    let plan = |rate: Rate, most: Duration| Plan {
        schedule: Schedule::constant(rate, most + SLACK),
        ..options.plan.clone()
    };
    let setup = Setup {
        namespace: options.namespace.clone(),
        prometheus: options.prometheus.clone(),
        series: options.series.clone(),
        step: Plan {
            connections: options.connections.unwrap_or_else(|| step_connections(rate)),
            ..plan(rate, options.scale_up_deadline + options.plateau)
        },
        tail: tail.map(|tail| Plan {
            connections: tail_connections(tail),
            ..plan(tail, scale_down)
        }),
        addresses,
        deadlines: Deadlines {
            settle: options.settle_deadline.unwrap_or(scale_down).as_secs_f64(),
            scale_up: options.scale_up_deadline.as_secs_f64(),
            plateau: options.plateau.as_secs_f64(),
            scale_down: scale_down.as_secs_f64(),
        },
        expected,
    };
    let config = ScaleConfig {
        namespace: setup.namespace.clone(),
        context: options.context.clone(),
        targets: options
            .mix()
            .targets()
            .iter()
            .map(|target| format!("{} {}", target.method, target.url))
            .collect(),
        rate: rate.as_per_second(),
        tail_rate: tail.map_or(0.0, |tail| tail.as_per_second()),
    };
    Ok(Prepared {
        cluster,
        setup,
        config,
    })
}

fn step_connections(rate: Rate) -> usize {
    connections(rate.as_per_second() * CONNECTIONS_PER_RATE, MOST_CONNECTIONS)
}

/// So few that each is used twice a second: it is on connections in use that a pod which goes can lose a request.
fn tail_connections(tail: Rate) -> usize {
    connections(tail.as_per_second() / 2.0, 100)
}

fn connections(wanted: f64, most: usize) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "above 0, and bounded right after"
    )]
    let wanted = wanted.ceil() as usize;
    wanted.clamp(1, most)
}

/// The rate of the step, and what each HPA has to do at its part of it.
async fn expectations(options: &ScaleOptions, cluster: &Cluster) -> anyhow::Result<(Rate, Vec<Expected>)> {
    let namespace = &options.namespace;
    let (rate, hpa) = match &options.step {
        Step::Mix { rate, parts } => {
            let mut expected = Vec::new();
            for (name, part) in parts {
                let hpa = hpa(cluster, namespace, name).await?;
                expected.push(predict(&hpa, part.as_per_second()).map_err(BadConfiguration::new)?);
            }
            return Ok((*rate, expected));
        }
        Step::Rate { hpa: name, rate } => (*rate, hpa(cluster, namespace, name).await?),
        Step::Replicas { hpa: name, replicas } => {
            let hpa = hpa(cluster, namespace, name).await?;
            let safe = safe_rate(&hpa, (*replicas).into()).ok_or_else(|| {
                let name = &hpa.name;
                BadConfiguration(format!(
                    "no rate needs exactly {replicas} replicas of {name}: its tolerance leaves it open"
                ))
            })?;
            (short(safe).parse().map_err(BadConfiguration)?, hpa)
        }
    };
    let expected = predict(&hpa, rate.as_per_second()).map_err(BadConfiguration)?;
    Ok((rate, vec![expected]))
}

async fn hpa(cluster: &Cluster, namespace: &str, name: &str) -> anyhow::Result<Hpa> {
    let found = cluster
        .hpa(namespace, name)
        .await
        .map_err(BadConfiguration::new)?;
    found.ok_or_else(|| {
        BadConfiguration(format!(
            "there is no HPA {name} in {namespace} (--hpa, --namespace)"
        ))
        .into()
    })
}

fn announce(setup: &Setup, config: &ScaleConfig) -> anyhow::Result<()> {
    output::print(&format!(
        "{} requests/s: {}\n",
        short(config.rate),
        config.targets.join(", ")
    ))?;
    for one in &setup.expected {
        let metric = &one.metric;
        output::print(&format!(
            "{}: {} -> {} -> {} replicas ({} of {} for each, {} requests/s; at most {})\n",
            one.hpa,
            one.min,
            one.replicas,
            one.min,
            short(metric.target_per_pod),
            metric.name,
            short(one.rate),
            one.max
        ))?;
    }
    Ok(())
}

async fn chains(options: &ScaleOptions, cluster: &Cluster, expected: &[Expected]) -> Vec<Diagnosis> {
    let mut chains = Vec::new();
    for one in expected {
        let chain = options.chain(&one.hpa);
        let say = |missing: &str| eprintln!("{missing}");
        let diagnosis = wait_until_healthy(cluster, &chain, options.chain_wait, say).await;
        if !diagnosis.is_healthy() {
            eprint!("{}", chain::render(&diagnosis));
        }
        chains.push(diagnosis);
    }
    chains
}

/// The exit code that says so.
fn exit(verdict: ScaleVerdict) -> Exit {
    match verdict {
        ScaleVerdict::Passed => Exit::Ok,
        ScaleVerdict::Failed => Exit::AssertionFailed,
        ScaleVerdict::RequestsFailed | ScaleVerdict::ThresholdBroken => Exit::ThresholdBroken,
        ScaleVerdict::Invalid => Exit::Invalid,
        ScaleVerdict::Interrupted => Exit::Interrupted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verdict_has_its_exit_code() {
        for (verdict, code) in [
            (ScaleVerdict::Passed, Exit::Ok),
            (ScaleVerdict::Failed, Exit::AssertionFailed),
            (ScaleVerdict::RequestsFailed, Exit::ThresholdBroken),
            (ScaleVerdict::ThresholdBroken, Exit::ThresholdBroken),
            (ScaleVerdict::Invalid, Exit::Invalid),
            (ScaleVerdict::Interrupted, Exit::Interrupted),
        ] {
            assert_eq!(exit(verdict), code, "{verdict:?}");
        }
    }
}
