//! The flags for what must come of a run, and for where its report goes.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use engine::{Threshold, units::MaxFailed};

use super::report_arguments::ReportArguments;
use crate::{options::ResultOptions, output::OutputFile, report_files::ResultFiles};

/// What `run` and the commands that put its stripes together have in common.
#[derive(Debug, Args)]
pub struct ResultArguments {
    /// How many requests may fail before the run does: a number, or a share as in 0.1% (default: 0, or what a threshold
    /// on `failed` says)
    #[arg(long, value_name = "NUMBER")]
    pub max_failed: Option<MaxFailed>,

    /// What the run must reach: 'p(99)<500' 'mean<20ms' 'max<2s' 'rate>990' 'failed<0.1%' 'dropped<1' (more than one, or
    /// repeat)
    #[arg(long, value_name = "THRESHOLD", num_args = 1..)]
    pub threshold: Vec<Threshold>,

    /// Write the report to this file, as JSON
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Write the report to this file, as a page with plots
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Print the report as JSON instead of text
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a text here would replace that of the command")]
    pub reports: ReportArguments,
}

impl ResultArguments {
    /// How many requests may fail.
    #[must_use]
    pub fn max_failed(&self) -> MaxFailed {
        Threshold::max_failed(self.max_failed, &self.threshold)
    }

    /// Opens the files, before any load.
    ///
    /// # Errors
    /// [`BadConfiguration`](engine::BadConfiguration) when one cannot be written.
    pub fn open(&self) -> anyhow::Result<ResultFiles> {
        Ok(ResultFiles {
            output: self.output.as_deref().map(OutputFile::open).transpose()?,
            html: self.html.as_deref().map(OutputFile::open).transpose()?,
            reports: self.reports.open()?,
        })
    }
    /// The options of the result; the files are open.
    ///
    /// # Errors
    /// [`BadConfiguration`](engine::BadConfiguration) when a file cannot be written.
    pub fn options(&self, max_lag: Option<Duration>) -> anyhow::Result<ResultOptions> {
        Ok(ResultOptions {
            max_lag,
            max_failed: self.max_failed(),
            thresholds: self.threshold.clone(),
            json: self.json,
            files: self.open()?,
        })
    }
}
