//! The flags of `loadtest merge`.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::ResultArguments;
use crate::units::parse_duration;

/// Flags of `loadtest merge`.
#[derive(Debug, Args)]
pub struct MergeArguments {
    /// The results of the stripes, as `loadtest run --stripe` wrote them
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// The most that the generators' own lag may be at the 99th percentile, or the run is invalid (default: 20ms)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub max_lag: Option<Duration>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a text here would replace that of the command")]
    pub result: ResultArguments,
}
