//! What a load is asked to do.

use std::{thread, time::Duration};

use super::{mix::Mix, network::Network, schedule::Schedule, target::Expectations};

/// What one core of this generator holds with room to spare; above it, another thread is worth its wake-ups.
const RATE_PER_THREAD: f64 = 10_000.0;

/// Everything that a load needs to know.
#[derive(Clone, Debug)]
pub struct Plan {
    /// When requests are due.
    pub schedule: Schedule,
    /// What they ask for.
    pub mix: Mix,
    /// How the hosts are reached.
    pub network: Network,
    /// What counts as a right answer.
    pub expectations: Expectations,
    /// From the intended start to the end of the answer.
    pub timeout: Duration,
    /// The most connections to each host at a time.
    pub connections: usize,
    /// The most requests begun and not ended; an arrival beyond it is dropped, and counts as failed.
    pub max_in_flight: usize,
    /// Connections older than about this are replaced; `None` keeps them.
    pub max_connection_age: Option<Duration>,
    /// Connections idle for this long are closed.
    pub max_idle: Duration,
    /// Generator threads; `None` chooses by the rate.
    pub threads: Option<usize>,
}

impl Plan {
    pub(crate) fn thread_count(&self) -> usize {
        let most = self.max_in_flight.min(self.connections).max(1);
        let wanted = self.threads.unwrap_or_else(|| {
            let cores = thread::available_parallelism().map_or(1, usize::from);
            let rate = self.schedule.peak_rate();
            (1..cores)
                .find(|threads| {
                    rate <= RATE_PER_THREAD * f64::from(u32::try_from(*threads).unwrap_or(u32::MAX))
                })
                .unwrap_or(cores)
        });
        wanted.clamp(1, most)
    }
}
