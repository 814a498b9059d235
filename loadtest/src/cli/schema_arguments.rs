//! The flags of `loadtest schema`.

use clap::{Args, ValueEnum};

use crate::options::Report;

/// The JSON that commands write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportKind {
    /// That of `run`, `job` and `merge`
    Run,
    /// That of `scale`
    Scale,
    /// That of `compare`
    Compare,
    /// That of `chain`
    Chain,
}

impl From<ReportKind> for Report {
    fn from(kind: ReportKind) -> Self {
        match kind {
            ReportKind::Run => Self::Run,
            ReportKind::Scale => Self::Scale,
            ReportKind::Compare => Self::Compare,
            ReportKind::Chain => Self::Chain,
        }
    }
}

/// Flags of `loadtest schema`.
#[derive(Debug, Args)]
pub struct SchemaArguments {
    /// Which report
    #[arg(value_name = "REPORT")]
    pub report: ReportKind,
}
