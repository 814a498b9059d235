//! The plan of a load.

use std::{thread, time::Duration};

use super::{mix::Mix, network::Network, schedule::Schedule, segment::Segment, target::Expectations};

/// The rate that one thread holds with a margin, in requests per second. Below it, a second thread would only add
/// wake-ups.
const RATE_PER_THREAD: f64 = 10_000.0;

/// The complete configuration of a load.
#[derive(Clone, Debug)]
pub struct Plan {
    /// When requests are due.
    pub schedule: Schedule,
    /// How long requests are sent before the schedule, at its first rate above 0. The report does not count them.
    pub warm_up: Duration,
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
    /// The maximum number of requests in the list of the slowest ones.
    pub slowest: usize,
    /// The number of generator threads; `None` to choose it from the rate.
    pub threads: Option<usize>,
}

impl Plan {
    /// Returns the schedule of the warm-up.
    pub(crate) fn warm_up_schedule(&self) -> Schedule {
        let segment = Segment::constant(self.warm_up, self.schedule.first_rate());
        Schedule::from_segments(&[segment], self.schedule.spacing())
    }

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
