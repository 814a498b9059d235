//! The flags of `loadtest merge`.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use engine::units::parse_duration;

use super::result_arguments::ResultArguments;
use crate::options::MergeOptions;

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

impl MergeArguments {
    /// The options of the command.
    ///
    /// # Errors
    /// [`BadConfiguration`](engine::BadConfiguration) when a file cannot be written.
    pub fn options(&self) -> anyhow::Result<MergeOptions> {
        Ok(MergeOptions {
            files: self.files.clone(),
            result: self.result.options(self.max_lag)?,
        })
    }
}
