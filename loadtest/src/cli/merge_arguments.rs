//! The flags of `loadtest merge`.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use engine::units::parse_duration;

use super::result_arguments::ResultArguments;
use crate::options::MergeOptions;

/// Flags of `loadtest merge`.
#[derive(Debug, Args)]
pub struct MergeArguments {
    /// Stripe results, written by `loadtest run --stripe`
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// Upper bound of the generators' lag at the 99th percentile; above it the run is invalid (default: 20ms)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub max_lag: Option<Duration>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would use a doc comment as the command's help")]
    pub result: ResultArguments,
}

impl MergeArguments {
    /// Returns the options of the command, with open report files.
    ///
    /// # Errors
    /// [`BadConfiguration`](engine::BadConfiguration) when a report file cannot be opened for writing.
    pub fn options(&self) -> anyhow::Result<MergeOptions> {
        Ok(MergeOptions {
            files: self.files.clone(),
            result: self.result.options(self.max_lag)?,
        })
    }
}
