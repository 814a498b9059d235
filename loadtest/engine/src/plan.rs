//! The plan of a load.

use std::{thread, time::Duration};

use super::{mix::Mix, network::Network, schedule::Schedule, target::Expectations};

/// The rate that one thread holds with a margin, in requests per second. Below it, a second thread would only add
/// wake-ups.
const RATE_PER_THREAD: f64 = 10_000.0;

/// The complete configuration of a load.
#[derive(Clone, Debug)]
pub struct Plan {
    /// When requests are due.
    pub schedule: Schedule,
    /// The content of the requests.
    pub mix: Mix,
    /// How the generator connects to the hosts.
    pub network: Network,
    /// The response that counts as a success.
    pub expectations: Expectations,
    /// The maximum time from the intended start to the end of the response.
    pub timeout: Duration,
    /// The maximum number of open connections to each host.
    pub connections: usize,
    /// The maximum number of requests in flight. An arrival above it is dropped and counts as failed.
    pub max_in_flight: usize,
    /// The maximum age of a connection, with a jitter of 20 %; `None` for no maximum.
    pub max_connection_age: Option<Duration>,
    /// The maximum idle time of a connection.
    pub max_idle: Duration,
    /// The number of generator threads; `None` to choose it from the rate.
    pub threads: Option<usize>,
}

impl Plan {
    pub(crate) fn thread_count(&self) -> usize {
        let max_threads = self.max_in_flight.min(self.connections).max(1);
        let wanted = self.threads.unwrap_or_else(|| {
            let cores = thread::available_parallelism().map_or(1, usize::from);
            let rate = self.schedule.peak_rate();
            (1..cores)
                .find(|threads| {
                    rate <= RATE_PER_THREAD * f64::from(u32::try_from(*threads).unwrap_or(u32::MAX))
                })
                .unwrap_or(cores)
        });
        wanted.clamp(1, max_threads)
    }
}
