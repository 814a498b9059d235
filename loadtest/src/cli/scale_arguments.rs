//! The flags of `loadtest scale`.

use std::{path::PathBuf, str::FromStr, time::Duration};

use anyhow::Context;
use clap::Args;
use engine::{
    BadConfiguration, Mix, Schedule, Spacing, Threshold,
    units::{MaxFailed, Rate, parse_duration},
};

use super::{
    cluster_arguments::ClusterArguments, load_arguments::LoadArguments, nodes_arguments::NodesArguments,
    report_arguments::ReportArguments, schedule_arguments::ArrivalsArgument,
};
use crate::{
    options::{ScaleOptions, Step},
    output::OutputFile,
};

/// The default time limit for all replicas to become ready, on nodes that are there.
const SCALE_UP: Duration = Duration::from_mins(2);

/// The default time limit with new nodes. Karpenter needs 1 to 2 minutes for a node on EC2, a cluster-autoscaler 3 to 5. A
/// launch that fails is given up after 5 minutes, a node that never joins only after 15.
const SCALE_UP_WITH_NODES: Duration = Duration::from_mins(10);

/// Flags of `loadtest scale`.
#[derive(Debug, Args)]
pub struct ScaleArguments {
    /// URL of the requests; the default path is /hello
    #[arg(
        long,
        value_name = "URL",
        required_unless_present = "target",
        conflicts_with = "target"
    )]
    pub url: Option<String>,

    /// Rate of the load step: 392 or 392/1s
    #[arg(
        short = 'q',
        long,
        value_name = "RATE",
        required_unless_present = "replicas",
        conflicts_with = "replicas"
    )]
    pub rate: Option<Rate>,

    /// Replicas that the step of load must need; the rate is the middle of the rates that need exactly this number
    #[arg(short, long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..), conflicts_with = "expect")]
    pub replicas: Option<u16>,

    /// HPA that receives the whole rate
    #[arg(long, value_name = "NAME", default_value = "app-a", conflicts_with = "expect")]
    pub hpa: String,

    /// HPA and its part of the rate, for several HPAs: app-b=196 (repeatable; replaces --hpa)
    #[arg(long, value_name = "HPA=RATE", requires = "rate")]
    pub expect: Vec<HpaRate>,

    /// Number of runs, each from an idle cluster and after a random wait of up to two sync periods of the HPA (30 s); the
    /// report contains the median and the worst of each time
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=100), help_heading = "Phases")]
    pub repeat: u16,

    /// Spacing of the arrivals: even, or random as for many independent users
    #[arg(long, value_enum, default_value_t = ArrivalsArgument::Even, help_heading = "Phases")]
    pub arrivals: ArrivalsArgument,

    /// Seed of the random waits of --repeat and of --arrivals poisson (default: random; the report contains it)
    #[arg(long, value_name = "NUMBER", help_heading = "Phases")]
    pub seed: Option<u64>,

    /// Time limit for all replicas to become ready (default: 120s; 600s with --nodes)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = "Phases")]
    pub scale_up_deadline: Option<Duration>,

    /// How long the replica count must stay constant
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration, help_heading = "Phases")]
    pub plateau: Duration,

    /// Time limit for the return to the minimum (default: the HPA's scale-down stabilisation + 120s)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = "Phases")]
    pub scale_down_deadline: Option<Duration>,

    /// Time limit for the cluster to become idle before the load (default: the scale-down deadline)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = "Phases")]
    pub settle_deadline: Option<Duration>,

    /// How long to wait until the metrics chain is whole
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration, help_heading = "Phases")]
    pub chain_wait: Duration,

    /// Rate during the scale-down, to detect requests lost by terminating pods; 0 for none
    #[arg(long, value_name = "RATE", default_value = "20", value_parser = parse_tail, help_heading = "Phases")]
    pub tail_rate: TailRate,

    /// How many requests of the step, and of the tail, may fail: a number, or a percentage such as 0.1% (default: 0, or
    /// the bound of a threshold on `failed`)
    #[arg(long, value_name = "NUMBER")]
    pub max_failed: Option<MaxFailed>,

    /// Conditions for the step, as in `loadtest run`: 'p(99)<500' 'failed<0.1%' (one or more; repeatable)
    #[arg(long, value_name = "THRESHOLD", num_args = 1..)]
    pub threshold: Vec<Threshold>,

    /// Write a JSON report to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write an HTML report with plots to this file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would use a doc comment as the command's help")]
    pub nodes: NodesArguments,

    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would use a doc comment as the command's help")]
    pub reports: ReportArguments,

    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would use a doc comment as the command's help")]
    pub cluster: ClusterArguments,

    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would use a doc comment as the command's help")]
    pub load: LoadArguments,
}

impl ScaleArguments {
    /// Returns the options of the command, with open report files.
    ///
    /// # Errors
    /// [`BadConfiguration`] when a report file cannot be opened, or the flags describe no valid load.
    pub fn options(&self) -> anyhow::Result<ScaleOptions> {
        let json = self.json.as_deref().map(OutputFile::open).transpose()?;
        let html = self.html.as_deref().map(OutputFile::open).transpose()?;
        let reports = self.reports.open()?;
        let mix = self.mix()?;
        Threshold::check_targets(&self.threshold, mix.targets())?;
        let network = self.load.network(&mix)?;
        Ok(ScaleOptions {
            cluster: self.cluster.options(),
            step: self.step()?,
            plan: self
                .load
                .plan(mix, network, Schedule::from_segments(&[], Spacing::Even)),
            connections: self.load.connections,
            repeat: self.repeat,
            arrivals_are_random: matches!(self.arrivals, ArrivalsArgument::Poisson),
            seed: self.seed,
            scale_up_deadline: self.scale_up_deadline.unwrap_or(if self.nodes.nodes {
                SCALE_UP_WITH_NODES
            } else {
                SCALE_UP
            }),
            plateau: self.plateau,
            scale_down_deadline: self.scale_down_deadline,
            settle_deadline: self.settle_deadline,
            chain_wait: self.chain_wait,
            nodes: self.nodes.options(),
            tail_rate: self.tail_rate.0,
            max_lag: self.load.max_lag,
            max_failed: Threshold::max_failed(self.max_failed, &self.threshold),
            thresholds: self.threshold.clone(),
            json,
            html,
            reports,
        })
    }

    fn mix(&self) -> anyhow::Result<Mix> {
        let url = self.url.as_deref().map(with_default_path);
        self.load.mix(url.as_deref())
    }

    fn step(&self) -> anyhow::Result<Step> {
        if !self.expect.is_empty() {
            return Ok(Step::Mix {
                rate: self.rate.context("--expect needs --rate")?,
                parts: self
                    .expect
                    .iter()
                    .map(|part| (part.hpa.clone(), part.rate))
                    .collect(),
            });
        }
        let hpa = self.hpa.clone();
        match (self.rate, self.replicas) {
            (Some(rate), _) => Ok(Step::Rate { hpa, rate }),
            (None, Some(replicas)) => Ok(Step::Replicas { hpa, replicas }),
            (None, None) => Err(BadConfiguration::new("--rate or --replicas is required").into()),
        }
    }
}

/// An HPA and the rate that it receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HpaRate {
    /// The name of the HPA.
    pub hpa: String,
    /// The rate in total over all its pods.
    pub rate: Rate,
}

impl FromStr for HpaRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((hpa, rate)) if !hpa.is_empty() => Ok(Self {
                hpa: hpa.to_owned(),
                rate: rate.parse()?,
            }),
            _ => Err(format!("`{text}` is not an HPA and a rate; write app-b=196")),
        }
    }
}

/// The rate during the scale-down; `None` for no load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TailRate(pub Option<Rate>);

fn parse_tail(text: &str) -> Result<TailRate, String> {
    if text == "0" {
        Ok(TailRate(None))
    } else {
        text.parse().map(|rate| TailRate(Some(rate)))
    }
}

/// Adds the path `/hello`, which `app_a` serves, to a URL without a path and a query.
fn with_default_path(url: &str) -> String {
    match url.parse::<http::Uri>() {
        Ok(parsed) if parsed.path_and_query().is_none_or(|path| path == "/") => {
            format!("{}/hello", url.trim_end_matches('/'))
        }
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_path_is_hello() {
        for (url, expected) in [
            ("http://h:1", "http://h:1/hello"),
            ("http://h:1/", "http://h:1/hello"),
            ("http://h:1/jobs", "http://h:1/jobs"),
            ("http://h:1/?a=b", "http://h:1/?a=b"),
        ] {
            assert_eq!(with_default_path(url), expected);
        }
    }
}
