//! The flags of `loadtest capacity`.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use engine::{
    BadConfiguration, Bounds, Schedule, Spacing, Threshold,
    capacity::{CapacityOptions, SearchOptions},
    units::{MaxFailed, Share, parse_duration},
};

use super::{load_arguments::LoadArguments, schedule_arguments::ArrivalsArgument};
use crate::{
    options::{CapacityCommandOptions, DEFAULT_MAX_LAG},
    output::OutputFile,
};

/// The factor between two rates until the first one is missed.
const COARSE: f64 = 2.0;

/// Flags of `loadtest capacity`.
#[derive(Debug, Args)]
pub struct CapacityArguments {
    /// URL of the requests, for example `http://127.0.0.1:5000/hello`
    #[arg(
        value_name = "URL",
        required_unless_present = "target",
        conflicts_with = "target"
    )]
    pub url: Option<String>,

    /// Conditions of a held rate, as in `loadtest run`; at least one must limit the latency: 'p(99)<200' (one or more;
    /// repeatable)
    #[arg(long, value_name = "THRESHOLD", num_args = 1.., required = true)]
    pub threshold: Vec<Threshold>,

    /// How many requests of a step may fail: a number, or a percentage such as 0.1% (default: 0, or the bound of a
    /// threshold on `failed`)
    #[arg(long, value_name = "NUMBER")]
    pub max_failed: Option<MaxFailed>,

    /// First rate, in requests per second
    #[arg(long, value_name = "RATE", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000), help_heading = "Search")]
    pub from: u32,

    /// Highest rate to try, in requests per second
    #[arg(long, value_name = "RATE", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000), help_heading = "Search")]
    pub up_to: u32,

    /// Length of each step
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration, help_heading = "Search")]
    pub step: Duration,

    /// End the search when the lowest missed rate is at most this much above the highest held rate
    #[arg(long, value_name = "PERCENT", default_value = "5%", help_heading = "Search")]
    pub precision: Share,

    /// Maximum number of steps
    #[arg(long, value_name = "NUMBER", default_value_t = 40, value_parser = clap::value_parser!(u16).range(1..=1000), help_heading = "Search")]
    pub max_steps: u16,

    /// Maximum time of all steps together
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = parse_duration, help_heading = "Search")]
    pub max_time: Duration,

    /// Spacing of the arrivals: even, or random as for many independent users
    #[arg(long, value_enum, default_value_t = ArrivalsArgument::Even, help_heading = "Search")]
    pub arrivals: ArrivalsArgument,

    /// Random seed of --arrivals poisson
    #[arg(long, value_name = "NUMBER", default_value_t = 1, help_heading = "Search")]
    pub seed: u64,

    /// Write a JSON report to this file
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would use a doc comment as the command's help")]
    pub load: LoadArguments,
}

impl CapacityArguments {
    /// Returns the options of the command, with an open report file.
    ///
    /// # Errors
    /// [`BadConfiguration`] without a valid target, without a threshold on the latency, when the time is too short for a
    /// step, or when the report file cannot be opened.
    pub fn options(&self) -> anyhow::Result<CapacityCommandOptions> {
        let mix = self.load.mix(self.url.as_deref())?;
        Threshold::check_targets(&self.threshold, mix.targets())?;
        if !self.threshold.iter().any(Threshold::limits_latency) {
            return Err(BadConfiguration::new(
                "no --threshold limits the latency, so the backlog of a rate that is too high could grow unnoticed; add \
                 for example 'p(99)<200'",
            )
            .into());
        }
        if self.max_time < self.step {
            return Err(BadConfiguration::new("--max-time is shorter than one --step").into());
        }
        let network = self.load.network(&mix)?;
        let spacing = match self.arrivals {
            ArrivalsArgument::Even => Spacing::Even,
            ArrivalsArgument::Poisson => Spacing::Poisson { seed: self.seed },
        };
        Ok(CapacityCommandOptions {
            // Each step has its own schedule.
            plan: self
                .load
                .plan(mix, network, Schedule::from_segments(&[], spacing)),
            search: CapacityOptions {
                search: SearchOptions {
                    start: self.from,
                    lowest: 1,
                    highest: self.up_to,
                    coarse: COARSE,
                    fine: 1.0 + self.precision.0,
                },
                step: self.step,
                spacing,
                max_steps: self.max_steps.into(),
                max_time: self.max_time,
                bounds: Bounds {
                    max_lag: self.load.max_lag.unwrap_or(DEFAULT_MAX_LAG),
                    max_failed: Threshold::max_failed(self.max_failed, &self.threshold),
                },
                thresholds: self.threshold.clone(),
            },
            json: self.json,
            output: self.output.as_deref().map(OutputFile::open).transpose()?,
        })
    }
}
