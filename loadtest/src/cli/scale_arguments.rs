//! The flags of `loadtest scale`.

use std::{path::PathBuf, str::FromStr, time::Duration};

use clap::Args;

use super::{ClusterArguments, LoadArguments, ReportArguments};
use crate::{
    load::Threshold,
    units::{MaxFailed, Rate, parse_duration},
};

/// Flags of `loadtest scale`.
#[derive(Debug, Args)]
pub struct ScaleArguments {
    /// Where requests go; without a path, to /hello
    #[arg(
        long,
        value_name = "URL",
        required_unless_present = "target",
        conflicts_with = "target"
    )]
    pub url: Option<String>,

    /// The step: requests in each period, as in 392 or 392/1s
    #[arg(
        short = 'q',
        long,
        value_name = "RATE",
        required_unless_present = "replicas",
        conflicts_with = "replicas"
    )]
    pub rate: Option<Rate>,

    /// The step: as many requests as need this many replicas
    #[arg(short, long, value_name = "NUMBER", conflicts_with = "expect")]
    pub replicas: Option<u16>,

    /// The HPA that the whole rate reaches
    #[arg(long, value_name = "NAME", default_value = "app-a", conflicts_with = "expect")]
    pub hpa: String,

    /// An HPA and the part of the rate that reaches it, for a mix: app-b=196 (repeat for each; in place of --hpa)
    #[arg(long, value_name = "HPA=RATE", requires = "rate")]
    pub expect: Vec<HpaRate>,

    /// How many times to do it, each from rest; the report then has the median and the worst of each time
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=100), help_heading = "Phases")]
    pub repeat: u16,

    /// How long until all replicas must be ready
    #[arg(long, value_name = "DURATION", default_value = "120s", value_parser = parse_duration, help_heading = "Phases")]
    pub scale_up_deadline: Duration,

    /// How long they must stay
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration, help_heading = "Phases")]
    pub plateau: Duration,

    /// How long until the minimum must be reached again (default: the HPA's scale-down stabilisation + 120s)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = "Phases")]
    pub scale_down_deadline: Option<Duration>,

    /// How long to wait for the cluster to be at rest before the load (default: as for scaling down)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = "Phases")]
    pub settle_deadline: Option<Duration>,

    /// How long to wait for the metrics chain to become whole
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration, help_heading = "Phases")]
    pub chain_wait: Duration,

    /// Requests that go on while the pods go, so that one lost on the way down is seen; 0 for none
    #[arg(long, value_name = "RATE", default_value = "20", value_parser = parse_tail, help_heading = "Phases")]
    pub tail_rate: TailRate,

    /// How many requests of the step, and of the tail, may fail: a number, or a share as in 0.1% (default: 0, or what a
    /// threshold on `failed` says)
    #[arg(long, value_name = "NUMBER")]
    pub max_failed: Option<MaxFailed>,

    /// What the step must reach, as in `loadtest run`: 'p(99)<500' 'failed<0.1%' (more than one, or repeat)
    #[arg(long, value_name = "THRESHOLD", num_args = 1..)]
    pub threshold: Vec<Threshold>,

    /// Write the report to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write the report to this file, as a page with plots
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a text here would replace that of the command")]
    pub reports: ReportArguments,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a text here would replace that of the command")]
    pub cluster: ClusterArguments,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a text here would replace that of the command")]
    pub load: LoadArguments,
}

/// An HPA and the rate that reaches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HpaRate {
    /// The HPA.
    pub hpa: String,
    /// Its rate.
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
            _ => Err(format!("`{text}` names no HPA and rate; write app-b=196")),
        }
    }
}

/// The rate of the tail; `None` where there is to be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TailRate(pub Option<Rate>);

fn parse_tail(text: &str) -> Result<TailRate, String> {
    if text == "0" {
        Ok(TailRate(None))
    } else {
        text.parse().map(|rate| TailRate(Some(rate)))
    }
}
