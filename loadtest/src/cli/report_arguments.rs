//! The flags for reports that other programs read.

use std::path::PathBuf;

use clap::Args;

use crate::{output::OutputFile, report_files::ReportFiles};

/// Reports that both commands write.
#[derive(Debug, Args)]
pub struct ReportArguments {
    /// Write what must hold, and whether it does, to this file, as JUnit XML
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub junit: Option<PathBuf>,

    /// Write a summary to this file, as Markdown
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub markdown: Option<PathBuf>,
}

impl ReportArguments {
    /// Opens the files, before any load.
    ///
    /// # Errors
    /// [`BadConfiguration`](engine::BadConfiguration) when one cannot be written.
    pub fn open(&self) -> anyhow::Result<ReportFiles> {
        Ok(ReportFiles {
            junit: self.junit.as_deref().map(OutputFile::open).transpose()?,
            markdown: self.markdown.as_deref().map(OutputFile::open).transpose()?,
        })
    }
}
