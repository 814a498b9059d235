//! The files that reports go to, open before the load.

use crate::{output::OutputFile, suite::Suite};

/// Their files, open.
#[derive(Debug)]
pub struct ReportFiles {
    pub(crate) junit: Option<OutputFile>,
    pub(crate) markdown: Option<OutputFile>,
}

impl ReportFiles {
    /// Writes each that was asked for.
    ///
    /// # Errors
    /// When writing fails.
    pub fn write(self, suite: &Suite) -> anyhow::Result<()> {
        if let Some(file) = self.junit {
            file.write(suite.junit()?.as_bytes())?;
        }
        if let Some(file) = self.markdown {
            file.write(suite.markdown().as_bytes())?;
        }
        Ok(())
    }
}

/// Their files, open.
#[derive(Debug)]
pub struct ResultFiles {
    pub(crate) output: Option<OutputFile>,
    pub(crate) html: Option<OutputFile>,
    pub(crate) reports: ReportFiles,
}
