//! The report files of a command. All are open before the load.

use crate::{output::OutputFile, suite::Suite};

/// The files of the JUnit and Markdown reports.
#[derive(Debug)]
pub struct ReportFiles {
    pub(crate) junit: Option<OutputFile>,
    pub(crate) markdown: Option<OutputFile>,
}

impl ReportFiles {
    /// Writes the requested reports.
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

/// All report files of `run`, `job` and `merge`.
#[derive(Debug)]
pub struct ResultFiles {
    pub(crate) output: Option<OutputFile>,
    pub(crate) html: Option<OutputFile>,
    pub(crate) reports: ReportFiles,
}
