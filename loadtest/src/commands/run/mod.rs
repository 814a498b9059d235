//! `loadtest run`: load by a schedule, live progress, a report.

mod conclude;
mod progress;
mod reach;
mod stripe;
mod suite;
mod text;

use engine::{Interrupt, Load};

pub(crate) use self::conclude::{RunReport, conclude};
use self::reach::reached;
use crate::{exit::Exit, options::RunOptions};

/// Carries out the command. Progress goes to standard error, the report to standard output.
///
/// # Errors
/// [`BadConfiguration`](engine::BadConfiguration) before any load; anything else is a fault of this program or machine.
pub async fn run(options: RunOptions, mut interrupt: Interrupt) -> anyhow::Result<Exit> {
    let RunOptions { plan, stripe, result } = options;
    if let Some((stripe, start_at)) = stripe {
        return stripe::run(plan, stripe, start_at, result.files.output, interrupt).await;
    }
    let planned = plan.schedule.duration();
    let Some(addresses) = reached(&plan, &mut interrupt).await? else {
        return Ok(Exit::Interrupted);
    };
    let mut load = Load::start(plan, &addresses)?;
    let interrupted = progress::until_drained(&mut load, planned, &mut interrupt).await?;
    conclude(&load.report(), result, interrupted)
}
