//! The flags of `loadtest compare`.

use std::path::PathBuf;

use clap::Args;

use crate::units::Share;

/// Flags of `loadtest compare`.
#[derive(Debug, Args)]
pub struct CompareArguments {
    /// The run to compare with, as `loadtest run -o` wrote it
    #[arg(value_name = "BEFORE.json")]
    pub before: PathBuf,

    /// The run that may be worse
    #[arg(value_name = "AFTER.json")]
    pub after: PathBuf,

    /// A change of up to this share is none, however certain it is
    #[arg(long, value_name = "PERCENT", default_value = "5%")]
    pub tolerance: Share,

    /// Print the comparison as JSON instead of text
    #[arg(long)]
    pub json: bool,
}
