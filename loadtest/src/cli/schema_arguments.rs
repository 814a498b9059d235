//! The flags of `loadtest schema`.

use clap::{Args, ValueEnum};

use crate::options::Report;

/// A JSON report that has a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportKind {
    /// Report of `run`, `job` and `merge`
    Run,
    /// Report of `scale`
    Scale,
    /// Report of `compare`
    Compare,
    /// Report of `chain`
    Chain,
    /// Report of `capacity`
    Capacity,
    /// Report of `verify`
    Verify,
}

impl From<ReportKind> for Report {
    fn from(kind: ReportKind) -> Self {
        match kind {
            ReportKind::Run => Self::Run,
            ReportKind::Scale => Self::Scale,
            ReportKind::Compare => Self::Compare,
            ReportKind::Chain => Self::Chain,
            ReportKind::Capacity => Self::Capacity,
            ReportKind::Verify => Self::Verify,
        }
    }
}

/// Flags of `loadtest schema`.
#[derive(Debug, Args)]
pub struct SchemaArguments {
    /// Report to describe
    #[arg(value_name = "REPORT")]
    pub report: ReportKind,
}
