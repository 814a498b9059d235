//! The flags for what must come of a run, and for where its report goes.

use std::path::PathBuf;

use clap::Args;

use super::{ReportArguments, ReportFiles};
use crate::{load::Threshold, output::OutputFile, units::MaxFailed};

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

/// Their files, open.
#[derive(Debug)]
pub struct ResultFiles {
    pub(crate) output: Option<OutputFile>,
    pub(crate) html: Option<OutputFile>,
    pub(crate) reports: ReportFiles,
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
    /// [`BadConfiguration`](crate::exit::BadConfiguration) when one cannot be written.
    pub fn open(&self) -> anyhow::Result<ResultFiles> {
        Ok(ResultFiles {
            output: self.output.as_deref().map(OutputFile::open).transpose()?,
            html: self.html.as_deref().map(OutputFile::open).transpose()?,
            reports: self.reports.open()?,
        })
    }
}
