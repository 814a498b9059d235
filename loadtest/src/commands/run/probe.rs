//! The connection test before a load.

use std::time::Duration;

use engine::{Addresses, BadConfiguration, Interrupt, Plan, probe};

/// The time limit for a test connection.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns the addresses of the hosts that accept a connection; `None` when a signal stops the test.
///
/// # Errors
/// [`BadConfiguration`] when a host cannot be reached.
pub(crate) async fn probe_hosts(plan: &Plan, interrupt: &mut Interrupt) -> anyhow::Result<Option<Addresses>> {
    tokio::select! {
        probed = probe(&plan.mix, &plan.network, PROBE_TIMEOUT) => Ok(Some(probed.map_err(BadConfiguration::new)?)),
        () = interrupt.requested() => Ok(None),
    }
}
