//! `loadtest job`: a load from several pods, by what Kubernetes has: an indexed Job starts the stripes, each waits for
//! their common start, and its result is the last line of its pod's log.

use engine::Interrupt;
use prover::job::{JobOptions, send};

use super::run::conclude;
use crate::{exit::Exit, options::ResultOptions};

/// Carries out the command. Progress goes to standard error, the report to standard output.
///
/// # Errors
/// [`BadConfiguration`](engine::BadConfiguration) before any load; anything else is a fault of this program or machine.
pub async fn run(job: JobOptions, result: ResultOptions, mut interrupt: Interrupt) -> anyhow::Result<Exit> {
    let outcome = send(&job, &mut interrupt, &mut |line| eprintln!("{line}")).await?;
    conclude(&outcome.report, result, outcome.interrupted)
}
