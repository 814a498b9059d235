//! `loadtest run`: sends a load on a schedule, shows progress and writes the reports.

mod conclude;
mod probe;
mod progress;
mod stripe;
mod suite;
mod text;

use engine::{Interrupt, Load};

use self::progress::Abort;
pub(crate) use self::{
    conclude::{RunReport, conclude},
    probe::probe_hosts,
    text::target,
};
use crate::{exit::Exit, options::RunOptions};

/// Runs the command. Prints progress to standard error and the report to standard output.
///
/// # Errors
/// [`BadConfiguration`](engine::BadConfiguration) before the load; otherwise a failure of this program or machine.
pub async fn run(options: RunOptions, mut interrupt: Interrupt) -> anyhow::Result<Exit> {
    let RunOptions {
        plan,
        stripe,
        abort_after,
        result,
    } = options;
    if let Some((stripe, start_at)) = stripe {
        return stripe::run(plan, stripe, start_at, result.files.output, interrupt).await;
    }
    let lengths = (plan.warm_up, plan.schedule.duration());
    let Some(addresses) = probe_hosts(&plan, &mut interrupt).await? else {
        return Ok(Exit::Interrupted);
    };
    let mut load = Load::start(plan, &addresses)?;
    let abort = abort_after.map(|after| Abort {
        after,
        max_failed: result.max_failed,
        thresholds: &result.thresholds,
    });
    let interrupted = progress::until_drained(&mut load, lengths, abort, &mut interrupt).await?;
    conclude(&load.report(), result, interrupted)
}
