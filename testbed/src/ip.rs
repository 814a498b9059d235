//! The program `ip` of iproute2.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::progress;

/// The deadline. Each call takes less than a second on an idle machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// Runs `ip` in the network namespace of this thread, with arguments separated by spaces, and returns its standard output.
pub(crate) fn ip(arguments: &str) -> Result<String> {
    progress::run_within(DEADLINE, Command::new("ip").args(arguments.split(' ')))
}
