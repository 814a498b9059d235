//! The probe before a load.

use std::time::Duration;

use engine::{Addresses, BadConfiguration, Interrupt, Plan, probe};

/// How long the probe before a load waits for a connection.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);

/// Where the hosts are; `None` where the user stopped the search.
pub(super) async fn reached(plan: &Plan, interrupt: &mut Interrupt) -> anyhow::Result<Option<Addresses>> {
    tokio::select! {
        probed = probe(&plan.mix, &plan.network, PROBE_PATIENCE) => Ok(Some(probed.map_err(BadConfiguration::new)?)),
        () = interrupt.requested() => Ok(None),
    }
}
