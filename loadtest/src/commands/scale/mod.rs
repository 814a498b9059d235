//! `loadtest scale`: sends a step of load and proves that the cluster scales up and down again.
//!
//! Reads the HPAs, rejects a step that proves nothing, checks the metrics chains, sends the load, judges the run and
//! writes the reports.

mod live_timeline;
mod nodes;
mod nodes_text;
mod suite;
mod text;
mod waits;

use std::time::Duration;

use anyhow::Context;
use engine::{
    BadConfiguration, Bounds, Interrupt, Plan, Schedule, Segment, Spacing, probe,
    units::{Rate, short},
};
use prover::{
    chain::wait_until_healthy,
    cluster::{Cluster, Hpa},
    prove::{
        Deadlines, Expected, Progress, Recording, ScaleConfig, ScaleReport, ScaleRun, ScaleVerdict, Setup,
        Timeline, check_tail, drive, predict, safe_rate,
    },
};
use wiring::diagnosis::Diagnosis;

pub(super) use self::nodes::plan as plan_nodes;
pub use self::text::summary;
use self::{live_timeline::LiveTimeline, suite::suite, waits::waits};
use super::chain;
use crate::{
    exit::Exit,
    options::{NodesOptions, ScaleOptions, Step},
    output::{self, OutputFile, Print},
    page,
};

/// The default number of connections of the step, for each request per second.
///
/// A Service picks a pod for each connection, so few connections load the pods unevenly. Prometheus scrapes the pods at
/// different times, so each connection that moves to another pod adds noise to the sum that the HPA reads. See
/// docs/scaling.md for measurements.
const CONNECTIONS_PER_RATE: f64 = 2.0;

/// The upper bound of the default number of connections of the step.
///
/// At a connection age of 6 s, 1,000 connections mean about 170 new ones per second. 300 per second stalled a node with
/// 2 cores.
const MAX_STEP_CONNECTIONS: usize = 1000;

/// The upper bound of the number of connections of the tail.
const MAX_TAIL_CONNECTIONS: usize = 100;

/// The time limit for a test connection before the load.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// The time added to the schedule of a load, so that the schedule does not end before the command stops the load.
const SCHEDULE_MARGIN: Duration = Duration::from_mins(1);

/// The margin of the default scale-down deadline over the HPA's stabilisation. It covers the HPA's period, the metric's
/// window and the termination of the pods.
const SCALE_DOWN_MARGIN: Duration = Duration::from_mins(2);

/// The default upper bound of the generator's lag.
///
/// Pods that start take CPU time from the generator on a small machine. Scaling depends on the rate, which a lag of
/// 250 ms hardly changes.
const DEFAULT_MAX_LAG: Duration = Duration::from_millis(250);

/// Runs the command. Prints the timeline to standard output.
///
/// # Errors
/// [`BadConfiguration`] before the load; otherwise a failure of this program or machine.
pub async fn run(options: ScaleOptions, mut interrupt: Interrupt) -> anyhow::Result<Exit> {
    // Boxed: the future is large.
    let proven = Box::pin(prove(&options, options.nodes, &mut interrupt, output::print)).await?;
    let Some(report) = proven else {
        return Ok(Exit::Interrupted);
    };
    write_files(options.json, options.html, &report)?;
    options.reports.write(&suite(&report))?;
    output::print(&summary(&report))?;
    Ok(exit(report.verdict))
}

/// Writes the JSON report and the page.
pub(super) fn write_files(
    json: Option<OutputFile>,
    html: Option<OutputFile>,
    report: &ScaleReport,
) -> anyhow::Result<()> {
    if let Some(file) = json {
        let encoded = serde_json::to_string_pretty(report).context("encoding the report")?;
        file.write(format!("{encoded}\n").as_bytes())?;
    }
    if let Some(file) = html {
        file.write(page::render_scale(report)?.as_bytes())?;
    }
    Ok(())
}

/// Sends the step and judges the scaling, as often as the options say, and the nodes with `nodes`. Passes the plan and the timeline
/// to `print`. Returns `None` if a signal came before the first run.
///
/// # Errors
/// [`BadConfiguration`] before the load; otherwise a failure of this program or machine.
pub(super) async fn prove(
    options: &ScaleOptions,
    nodes: Option<NodesOptions>,
    interrupt: &mut Interrupt,
    print: Print,
) -> anyhow::Result<Option<ScaleReport>> {
    let prepared = tokio::select! {
        prepared = prepare(options, nodes) => prepared?,
        () = interrupt.requested() => return Ok(None),
    };
    let Prepared {
        cluster,
        setup,
        config,
    } = prepared;
    print_plan(&setup, &config, print)?;
    let bounds = Bounds {
        max_lag: options.max_lag.unwrap_or(DEFAULT_MAX_LAG),
        max_failed: options.max_failed,
    };
    let mut runs = Vec::new();
    for (start_wait, number) in waits(config.seed, options.repeat).into_iter().zip(1..) {
        if options.repeat > 1 {
            print(&format!(
                "run {number} of {}: the load begins {} s after the cluster is idle\n",
                options.repeat,
                short(start_wait.as_secs_f64())
            ))?;
        }
        let setup = Setup {
            start_wait,
            ..setup.clone()
        };
        let chains = tokio::select! {
            chains = diagnose_chains(options, &cluster, &setup.expected) => chains,
            () = interrupt.requested() => Vec::new(),
        };
        let recording = if !interrupt.is_requested() && chains.iter().all(Diagnosis::is_healthy) {
            let mut timeline = LiveTimeline::new(setup.nodes.is_some(), print);
            let mut show = |progress: Progress<'_>| timeline.show(progress, &setup.expected);
            drive(&cluster, &setup, interrupt, &mut show).await?
        } else {
            // With a broken chain, load proves nothing: the diagnosis already names the cause.
            Recording::without_load(
                Timeline::new(setup.expected.clone(), setup.deadlines),
                interrupt.is_requested(),
            )
        };
        // A failed precondition would fail again: skip the remaining runs.
        let continues = recording.step.is_some() && !recording.interrupted;
        runs.push(ScaleRun::of(chains, recording, bounds, &options.thresholds));
        if !continues {
            break;
        }
    }
    Ok(Some(ScaleReport::of(config, runs)))
}

/// The result of the preparation: everything that the runs need.
struct Prepared {
    cluster: Cluster,
    setup: Setup,
    config: ScaleConfig,
}

/// Reads the HPAs, checks that the step can prove something, and tests the connection to the targets.
async fn prepare(options: &ScaleOptions, nodes: Option<NodesOptions>) -> anyhow::Result<Prepared> {
    let cluster = Cluster::connect(options.cluster.context.as_deref()).await?;
    let (rate, expected) = expectations(options, &cluster).await?;
    let tail = options.tail_rate;
    for hpa in &expected {
        let share = hpa.rate / rate.as_per_second();
        let hpa_tail = tail.map_or(0.0, |tail| tail.as_per_second() * share);
        check_tail(hpa, hpa_tail).map_err(BadConfiguration::new)?;
    }
    let stabilisation = expected
        .iter()
        .map(|hpa| hpa.scale_down_stabilisation)
        .max()
        .unwrap_or_default();
    let scale_down = options
        .scale_down_deadline
        .unwrap_or(stabilisation + SCALE_DOWN_MARGIN);
    let nodes = nodes::plan(nodes, &cluster, &options.cluster.namespace).await?;
    let removal = nodes.as_ref().map_or(Duration::ZERO, |plan| {
        Duration::from_secs_f64(plan.deadline_seconds)
    });
    let addresses = probe(options.mix(), &options.plan.network, PROBE_TIMEOUT)
        .await
        .map_err(BadConfiguration::new)?;
    let seed = options.seed.unwrap_or_else(|| fastrand::u32(..).into());
    let arrivals = if options.arrivals_are_random {
        Spacing::Poisson { seed }
    } else {
        Spacing::Even
    };
    let plan = |rate: Rate, longest: Duration| {
        let segment = Segment::constant(longest + SCHEDULE_MARGIN, rate.as_per_second());
        Plan {
            schedule: Schedule::from_segments(&[segment], arrivals),
            ..options.plan.clone()
        }
    };
    let setup = Setup {
        namespace: options.cluster.namespace.clone(),
        prometheus: options.cluster.prometheus.clone(),
        series: options.cluster.series.clone(),
        step: Plan {
            connections: options.connections.unwrap_or_else(|| step_connections(rate)),
            ..plan(rate, options.scale_up_deadline + options.plateau)
        },
        tail: tail.map(|tail| Plan {
            connections: tail_connections(tail),
            ..plan(tail, scale_down + removal)
        }),
        addresses,
        start_wait: Duration::ZERO,
        deadlines: Deadlines {
            settle: options
                .settle_deadline
                .unwrap_or(scale_down + removal)
                .as_secs_f64(),
            scale_up: options.scale_up_deadline.as_secs_f64(),
            plateau: options.plateau.as_secs_f64(),
            scale_down: scale_down.as_secs_f64(),
        },
        expected,
        nodes,
    };
    let config = ScaleConfig {
        namespace: setup.namespace.clone(),
        context: options.cluster.context.clone(),
        targets: options
            .mix()
            .targets()
            .iter()
            .map(|target| format!("{} {}", target.method, target.url))
            .collect(),
        rate: rate.as_per_second(),
        tail_rate: tail.map_or(0.0, |tail| tail.as_per_second()),
        arrivals,
        seed,
    };
    Ok(Prepared {
        cluster,
        setup,
        config,
    })
}

fn step_connections(rate: Rate) -> usize {
    connections(rate.as_per_second() * CONNECTIONS_PER_RATE, MAX_STEP_CONNECTIONS)
}

/// Returns one connection for every 2 requests per second, so that each connection carries 2 requests per second. A
/// terminating pod loses requests only on connections in use.
fn tail_connections(tail: Rate) -> usize {
    connections(tail.as_per_second() / 2.0, MAX_TAIL_CONNECTIONS)
}

fn connections(wanted: f64, max: usize) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "above 0, and bounded below"
    )]
    let wanted = wanted.ceil() as usize;
    wanted.clamp(1, max)
}

/// Returns the total rate of the step and the expected scaling of each HPA.
///
/// # Errors
/// [`BadConfiguration`] when an HPA cannot be read, or the step proves nothing about it.
async fn expectations(options: &ScaleOptions, cluster: &Cluster) -> anyhow::Result<(Rate, Vec<Expected>)> {
    let namespace = &options.cluster.namespace;
    let (rate, hpa) = match &options.step {
        Step::Mix { rate, parts } => {
            let mut expected = Vec::new();
            for (name, part) in parts {
                let hpa = read_hpa(cluster, namespace, name).await?;
                expected.push(predict(&hpa, part.as_per_second()).map_err(BadConfiguration::new)?);
            }
            return Ok((*rate, expected));
        }
        Step::Rate { hpa: name, rate } => (*rate, read_hpa(cluster, namespace, name).await?),
        Step::Replicas { hpa: name, replicas } => {
            let hpa = read_hpa(cluster, namespace, name).await?;
            let safe = safe_rate(&hpa, (*replicas).into()).map_err(BadConfiguration)?;
            (short(safe).parse().map_err(BadConfiguration)?, hpa)
        }
    };
    let expected = predict(&hpa, rate.as_per_second()).map_err(BadConfiguration)?;
    Ok((rate, vec![expected]))
}

async fn read_hpa(cluster: &Cluster, namespace: &str, name: &str) -> anyhow::Result<Hpa> {
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

/// Prints the rate and the expected scaling of each HPA.
fn print_plan(setup: &Setup, config: &ScaleConfig, print: Print) -> anyhow::Result<()> {
    print(&format!(
        "{} requests/s: {}\n",
        short(config.rate),
        config.targets.join(", ")
    ))?;
    for expected in &setup.expected {
        print(&format!(
            "{}: {} -> {} -> {} replicas (target {}, {} requests/s; at most {})\n",
            expected.hpa,
            expected.min,
            expected.replicas,
            expected.min,
            expected.metric,
            short(expected.rate),
            expected.max
        ))?;
    }
    if let Some(plan) = &setup.nodes {
        print(&nodes::describe(plan))?;
    }
    Ok(())
}

/// Waits until the metrics chain of each HPA is whole. Prints the diagnosis of each broken chain, and the warnings of each
/// other.
async fn diagnose_chains(options: &ScaleOptions, cluster: &Cluster, expected: &[Expected]) -> Vec<Diagnosis> {
    let mut chains = Vec::new();
    for Expected { hpa, .. } in expected {
        let chain = options.cluster.chain(hpa);
        let print = |missing: &str| output::status(missing);
        let diagnosis = wait_until_healthy(cluster, &chain, options.chain_wait, print).await;
        if diagnosis.is_healthy() {
            let warnings = diagnosis.links.iter().flat_map(chain::warning_lines);
            warnings.for_each(output::status);
        } else {
            output::status_text(chain::render(&diagnosis));
        }
        chains.push(diagnosis);
    }
    chains
}

/// Returns the exit code of a verdict.
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
