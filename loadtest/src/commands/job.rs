//! `loadtest job`: sends one load from several pods.
//!
//! An indexed Kubernetes Job starts one pod per stripe. The pods wait for the common start. The last line of each pod's
//! log is its result.

use engine::Interrupt;
use prover::job::{JobOptions, send};

use super::run::conclude;
use crate::{exit::Exit, options::ResultOptions, output};

/// Runs the command. Prints progress to standard error and the report to standard output.
///
/// # Errors
/// [`BadConfiguration`](engine::BadConfiguration) before the load; otherwise a failure of this program or machine.
pub async fn run(job: JobOptions, result: ResultOptions, mut interrupt: Interrupt) -> anyhow::Result<Exit> {
    let outcome = send(&job, &mut interrupt, &mut |line| output::status(line)).await?;
    conclude(&outcome.report, result, outcome.interrupted)
}
