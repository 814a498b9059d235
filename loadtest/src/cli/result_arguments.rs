//! The flags for the bounds of a run and for its reports.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use engine::{Threshold, units::MaxFailed};

use super::report_arguments::ReportArguments;
use crate::{options::ResultOptions, output::OutputFile, report_files::ResultFiles};

/// Bounds and reports of `run`, `job` and `merge`.
#[derive(Debug, Args)]
pub struct ResultArguments {
    /// How many requests may fail: a number, or a percentage such as 0.1% (default: 0, or the bound of a threshold on
    /// `failed`)
    #[arg(long, value_name = "NUMBER")]
    pub max_failed: Option<MaxFailed>,

    /// Conditions of a passed run: 'p(99)<500' 'mean<20ms' 'max<2s' 'rate>990' 'failed<0.1%' 'dropped<1' (one or more;
    /// repeatable). Conditions on targets: 'p(99){path:/hello}<200' 'failed{method:PUT,url:http://host/jobs}<1'
    #[arg(long, value_name = "THRESHOLD", num_args = 1..)]
    pub threshold: Vec<Threshold>,

    /// Write a JSON report to this file
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Write an HTML report with plots to this file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would use a doc comment as the command's help")]
    pub reports: ReportArguments,
}

impl ResultArguments {
    /// Returns how many requests may fail.
    #[must_use]
    pub fn max_failed(&self) -> MaxFailed {
        Threshold::max_failed(self.max_failed, &self.threshold)
    }

    /// Opens the report files.
    ///
    /// # Errors
    /// [`BadConfiguration`](engine::BadConfiguration) when a file cannot be opened for writing.
    pub fn open(&self) -> anyhow::Result<ResultFiles> {
        Ok(ResultFiles {
            output: self.output.as_deref().map(OutputFile::open).transpose()?,
            html: self.html.as_deref().map(OutputFile::open).transpose()?,
            reports: self.reports.open()?,
        })
    }

    /// Returns the options of the result, with open report files.
    ///
    /// # Errors
    /// As for [`ResultArguments::open`].
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
