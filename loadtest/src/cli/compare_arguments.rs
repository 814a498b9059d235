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
    /// Report of the run before the change, written by `loadtest run -o`
    #[arg(
        value_name = "BEFORE.json",
        required_unless_present_any = ["before", "after"],
        conflicts_with_all = ["before", "after"]
    )]
    pub one_before: Option<PathBuf>,

    /// Report of the run after the change
    #[arg(value_name = "AFTER.json", required_unless_present_any = ["before", "after"])]
    pub one_after: Option<PathBuf>,

    /// Reports of several runs before the change (`--before a*.json`), to separate machine noise from the change
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "after")]
    pub before: Vec<PathBuf>,

    /// Reports of several runs after the change; alternate the runs of both sides: A B A B
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "before")]
    pub after: Vec<PathBuf>,

    /// Ignore changes up to this percentage, even if they are significant
    #[arg(long, value_name = "PERCENT", default_value = "5%")]
    pub tolerance: Share,

    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
}

impl CompareArguments {
    /// Returns the files of the runs before and the files of the runs after.
    fn sides(&self) -> (&[PathBuf], &[PathBuf]) {
        match (&self.one_before, &self.one_after) {
            (Some(before), Some(after)) => (slice::from_ref(before), slice::from_ref(after)),
            _ => (&self.before, &self.after),
        }
    }

    /// Returns the options of the command.
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
