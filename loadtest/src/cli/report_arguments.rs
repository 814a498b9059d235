//! The flags for JUnit and Markdown reports.

use std::path::PathBuf;

use clap::Args;

use crate::{output::OutputFile, report_files::ReportFiles};

/// Report flags that `run`, `job`, `merge` and `scale` share.
#[derive(Debug, Args)]
pub struct ReportArguments {
    /// Write a JUnit XML report to this file, with one test case per check
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub junit: Option<PathBuf>,

    /// Write a Markdown summary to this file
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub markdown: Option<PathBuf>,
}

impl ReportArguments {
    /// Opens the report files.
    ///
    /// # Errors
    /// [`BadConfiguration`](engine::BadConfiguration) when a file cannot be opened for writing.
    pub fn open(&self) -> anyhow::Result<ReportFiles> {
        Ok(ReportFiles {
            junit: self.junit.as_deref().map(OutputFile::open).transpose()?,
            markdown: self.markdown.as_deref().map(OutputFile::open).transpose()?,
        })
    }
}
