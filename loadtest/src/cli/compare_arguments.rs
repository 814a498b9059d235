//! The flags of `loadtest compare`.

use std::{path::PathBuf, slice};

use clap::Args;
use engine::units::Share;

use crate::options::CompareOptions;

/// Flags of `loadtest compare`.
#[derive(Debug, Args)]
#[command(override_usage = "loadtest compare [OPTIONS] <BEFORE.json> <AFTER.json>
       loadtest compare [OPTIONS] --before <FILE>... --after <FILE>...")]
pub struct CompareArguments {
    /// One run to compare with, as `loadtest run -o` wrote it
    #[arg(
        value_name = "BEFORE.json",
        required_unless_present_any = ["before", "after"],
        conflicts_with_all = ["before", "after"]
    )]
    pub one_before: Option<PathBuf>,

    /// The run that may be worse
    #[arg(value_name = "AFTER.json", required_unless_present_any = ["before", "after"])]
    pub one_after: Option<PathBuf>,

    /// Several runs to compare with (`--before a*.json`), so that what the machine does to a run is told from a change
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "after")]
    pub before: Vec<PathBuf>,

    /// Several runs that may be worse, sent in turns with the others: A B A B
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "before")]
    pub after: Vec<PathBuf>,

    /// A change of up to this share is none, however certain it is
    #[arg(long, value_name = "PERCENT", default_value = "5%")]
    pub tolerance: Share,

    /// Print the comparison as JSON instead of text
    #[arg(long)]
    pub json: bool,
}

impl CompareArguments {
    /// The files of the runs before, and of those after.
    fn sides(&self) -> (&[PathBuf], &[PathBuf]) {
        match (&self.one_before, &self.one_after) {
            (Some(before), Some(after)) => (slice::from_ref(before), slice::from_ref(after)),
            _ => (&self.before, &self.after),
        }
    }
    /// The options of the command.
    #[must_use]
    pub fn options(&self) -> CompareOptions {
        let (before, after) = self.sides();
        CompareOptions {
            before: before.to_vec(),
            after: after.to_vec(),
            tolerance: self.tolerance.0,
            json: self.json,
        }
    }
}
