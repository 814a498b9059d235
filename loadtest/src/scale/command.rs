//! The command: reads the HPAs, refuses what could prove nothing, checks the chain, drives, judges, writes.

use std::time::Duration;

use anyhow::Context;

use super::{
    drive::{Recording, Setup, drive},
    html,
    plan::{Expected, check_tail, expect, safe_rate},
    report::{ScaleConfig, ScaleReport, ScaleRun},
    timeline::{Deadlines, Timeline},
};
use crate::{
    chain::{self, Diagnosis},
    cli::ScaleArguments,
    cluster::{Cluster, Hpa},
    exit::{BadConfiguration, Exit},
    load::{Mix, Plan, Schedule, Threshold, probe},
    output::{self, OutputFile},
    signals::Interrupt,
    units::{Rate, short},
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
pub async fn run(arguments: &ScaleArguments, mut interrupt: Interrupt) -> anyhow::Result<Exit> {
    let json = arguments.json.as_deref().map(OutputFile::open).transpose()?;
    let html = arguments.html.as_deref().map(OutputFile::open).transpose()?;
    let reports = arguments.reports.open()?;
    let mix = mix(arguments)?;
    let prepared = tokio::select! {
        prepared = prepare(arguments, &mix) => prepared?,
        () = interrupt.requested() => return Ok(Exit::Interrupted),
    };
    let Prepared {
        cluster,
        setup,
        config,
    } = prepared;
    announce(&setup, &config)?;
    let max_failed = Threshold::max_failed(arguments.max_failed, &arguments.threshold);
    let bounds = arguments.load.bounds(max_failed, MAX_LAG);
    let mut runs = Vec::new();
    for number in 1..=arguments.repeat {
        if arguments.repeat > 1 {
            output::print(&format!("run {number} of {}\n", arguments.repeat))?;
        }
        let chains = tokio::select! {
            chains = chains(arguments, &cluster, &setup.expected) => chains,
            () = interrupt.requested() => Vec::new(),
        };
        let recording = if !interrupt.is_requested() && chains.iter().all(Diagnosis::is_whole) {
            drive(&cluster, &setup, &mut interrupt).await?
        } else {
            // With a broken chain, load would only show that it does not scale; the chain says why.
            Recording::without_load(
                Timeline::new(setup.expected.clone(), setup.deadlines),
                interrupt.is_requested(),
            )
        };
        // What kept the load away would keep it away again.
        let goes_on = recording.step.is_some() && !recording.interrupted;
        runs.push(ScaleRun::of(chains, recording, bounds, &arguments.threshold));
        if !goes_on {
            break;
        }
    }
    let report = ScaleReport::of(config, runs);
    if let Some(file) = json {
        let encoded = serde_json::to_string_pretty(&report).context("encoding the report")?;
        file.write(format!("{encoded}\n").as_bytes())?;
    }
    if let Some(file) = html {
        file.write(html::render(&report)?.as_bytes())?;
    }
    reports.write(&report.suite())?;
    output::print(&report.summary())?;
    Ok(report.verdict.exit())
}

struct Prepared {
    cluster: Cluster,
    setup: Setup,
    config: ScaleConfig,
}

fn mix(arguments: &ScaleArguments) -> anyhow::Result<Mix> {
    let url = arguments.url.as_deref().map(with_default_path);
    arguments.load.mix(url.as_deref())
}

/// `http://host` and `http://host/` mean the page that the whole project is about.
fn with_default_path(url: &str) -> String {
    match url.parse::<http::Uri>() {
        Ok(parsed) if parsed.path_and_query().is_none_or(|path| path == "/") => {
            format!("{}/hello", url.trim_end_matches('/'))
        }
        _ => url.to_owned(),
    }
}

async fn prepare(arguments: &ScaleArguments, mix: &Mix) -> anyhow::Result<Prepared> {
    let cluster = Cluster::connect(arguments.cluster.context.as_deref()).await?;
    let (rate, expected) = expectations(arguments, &cluster).await?;
    let tail = arguments.tail_rate.0;
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
    let scale_down = arguments
        .scale_down_deadline
        .unwrap_or(stabilisation + SCALE_DOWN_SLACK);
    let network = arguments.load.network(mix)?;
    let addresses = probe(mix, &network, PROBE_PATIENCE)
        .await
        .map_err(BadConfiguration::new)?;
    let plan = |rate: Rate, most: Duration| {
        arguments
            .load
            .plan(mix.clone(), network.clone(), Schedule::new(rate, most + SLACK))
    };
    let setup = Setup {
        namespace: arguments.cluster.namespace.clone(),
        prometheus: arguments.cluster.prometheus.clone(),
        series: arguments.cluster.series.clone(),
        step: Plan {
            connections: arguments
                .load
                .connections
                .unwrap_or_else(|| step_connections(rate)),
            ..plan(rate, arguments.scale_up_deadline + arguments.plateau)
        },
        tail: tail.map(|tail| Plan {
            connections: tail_connections(tail),
            ..plan(tail, scale_down)
        }),
        addresses,
        deadlines: Deadlines {
            settle: arguments.settle_deadline.unwrap_or(scale_down).as_secs_f64(),
            scale_up: arguments.scale_up_deadline.as_secs_f64(),
            plateau: arguments.plateau.as_secs_f64(),
            scale_down: scale_down.as_secs_f64(),
        },
        expected,
    };
    let config = ScaleConfig {
        namespace: setup.namespace.clone(),
        context: arguments.cluster.context.clone(),
        targets: mix
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
async fn expectations(
    arguments: &ScaleArguments,
    cluster: &Cluster,
) -> anyhow::Result<(Rate, Vec<Expected>)> {
    let namespace = &arguments.cluster.namespace;
    if !arguments.expect.is_empty() {
        let rate = arguments.rate.context("--expect needs --rate")?;
        let mut expected = Vec::new();
        for one in &arguments.expect {
            let hpa = hpa(cluster, namespace, &one.hpa).await?;
            expected.push(expect(&hpa, one.rate.as_per_second()).map_err(BadConfiguration::new)?);
        }
        return Ok((rate, expected));
    }
    let hpa = hpa(cluster, namespace, &arguments.hpa).await?;
    let rate = match (arguments.rate, arguments.replicas) {
        (Some(rate), _) => rate,
        (None, Some(replicas)) => {
            let safe = safe_rate(&hpa, replicas.into()).ok_or_else(|| {
                let name = &hpa.name;
                BadConfiguration(format!(
                    "no rate needs exactly {replicas} replicas of {name}: its tolerance leaves it open"
                ))
            })?;
            short(safe).parse().map_err(BadConfiguration)?
        }
        (None, None) => return Err(BadConfiguration::new("--rate or --replicas").into()),
    };
    let expected = expect(&hpa, rate.as_per_second()).map_err(BadConfiguration)?;
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

async fn chains(arguments: &ScaleArguments, cluster: &Cluster, expected: &[Expected]) -> Vec<Diagnosis> {
    let mut chains = Vec::new();
    for one in expected {
        let options = arguments.cluster.chain(&one.hpa);
        let diagnosis = chain::wait_until_whole(cluster, &options, arguments.chain_wait).await;
        if !diagnosis.is_whole() {
            eprint!("{}", chain::render(&diagnosis));
        }
        chains.push(diagnosis);
    }
    chains
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_path_means_hello() {
        for (url, meant) in [
            ("http://h:1", "http://h:1/hello"),
            ("http://h:1/", "http://h:1/hello"),
            ("http://h:1/jobs", "http://h:1/jobs"),
            ("http://h:1/?a=b", "http://h:1/?a=b"),
        ] {
            assert_eq!(with_default_path(url), meant);
        }
    }
}
