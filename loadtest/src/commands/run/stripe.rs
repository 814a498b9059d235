//! `loadtest run --stripe`: sends one stripe of a load and prints its result. Other processes send the other stripes.

use std::time::Duration;

use anyhow::Context;
use engine::{Interrupt, Load, Plan, SharedLoad, Stripe, StripeResult, units::short};
use jiff::Timestamp;

use super::probe::probe_hosts;
use crate::{
    exit::Exit,
    output::{self, OutputFile},
};

/// Sends the stripe and publishes its result.
///
/// Prints no progress: a pod's log contains both streams, and a progress line could split the result line.
pub(super) async fn run(
    plan: Plan,
    stripe: Stripe,
    start_at: Timestamp,
    output: Option<OutputFile>,
    mut interrupt: Interrupt,
) -> anyhow::Result<Exit> {
    let Some(addresses) = probe_hosts(&plan, &mut interrupt).await? else {
        let load = SharedLoad::new(&plan, stripe.count, start_at);
        publish(&StripeResult::not_started(stripe, load), output)?;
        return Ok(Exit::Interrupted);
    };
    if let Ok(late) = Duration::try_from(Timestamp::now().duration_since(start_at)) {
        output::status(format_args!(
            "stripe {} of {}: {} s after the start, no request is sent",
            stripe.first,
            stripe.count,
            short(late.as_secs_f64())
        ));
        let load = SharedLoad::new(&plan, stripe.count, start_at);
        publish(&StripeResult::late(stripe, load, late), output)?;
        return Ok(Exit::Invalid);
    }
    output::status(format_args!(
        "stripe {} of {}: ready for {start_at}",
        stripe.first, stripe.count
    ));
    let mut load = Load::start_stripe(plan, &addresses, stripe, start_at)?;
    let exit = tokio::select! {
        ended = load.drained() => {
            ended?;
            Exit::Ok
        }
        () = interrupt.requested() => {
            load.stop();
            load.drained().await?;
            Exit::Interrupted
        }
    };
    publish(&load.stripe_result(), output)?;
    Ok(exit)
}

fn publish(result: &StripeResult, output: Option<OutputFile>) -> anyhow::Result<()> {
    let line = serde_json::to_string(result).context("encoding the result")? + "\n";
    match output {
        Some(file) => file.write(line.as_bytes()),
        None => output::print(&line),
    }
}
