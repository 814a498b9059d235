//! The arrivals of a schedule, and their distribution over threads, processes and pods.

use std::{str::FromStr, time::Duration};

use fastrand::Rng;

use super::schedule::{Schedule, Spacing};
use crate::units::to_f64;

/// The maximum number of processes that share a schedule.
pub const MAX_STRIPES: u64 = 1000;

/// The part of a schedule that one process or thread sends: every `count`-th arrival, starting at index `first`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stripe {
    /// The index of the first arrival of this stripe.
    pub first: u64,
    /// The number of stripes.
    pub count: u64,
}

impl Stripe {
    /// The whole schedule.
    pub const WHOLE: Self = Self { first: 0, count: 1 };

    /// Returns the part of thread `number` when `threads` threads share this stripe.
    #[must_use]
    pub fn thread(self, number: usize, threads: usize) -> Self {
        Self {
            first: self.first * threads as u64 + number as u64,
            count: self.count * threads as u64,
        }
    }
}

impl FromStr for Stripe {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (first, count) = text.split_once('/')?;
            let (first, count) = (first.parse().ok()?, count.parse().ok()?);
            (first < count && count <= MAX_STRIPES).then_some(Self { first, count })
        };
        parse().ok_or_else(|| {
            format!(
                "`{text}` is not a stripe; write 0/3, 1/3 and 2/3 for three stripes (at most {MAX_STRIPES})"
            )
        })
    }
}

/// The time at which one request is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The index among the arrivals of all stripes.
    pub index: u64,
    /// The intended start, since the start of the run.
    pub at: Duration,
}

/// The arrivals of one stripe, ordered by time.
#[derive(Clone, Debug)]
pub struct Arrivals {
    schedule: Schedule,
    stripe: Stripe,
    index: u64,
    /// For Poisson spacing: the random number generator of this stripe, and the expected number of arrivals of the whole
    /// schedule up to the last arrival.
    ///
    /// Each stripe is an independent Poisson process. Their sum is a Poisson process with the sum of their rates.
    random: Option<(Rng, f64)>,
}

impl Arrivals {
    fn new(schedule: Schedule, stripe: Stripe) -> Self {
        let random = match schedule.spacing() {
            Spacing::Even => None,
            Spacing::Poisson { seed } => {
                let mut seeds = Rng::with_seed(seed);
                let own = (0..=stripe.first).map(|_| seeds.u64(..)).last();
                Some((Rng::with_seed(own.unwrap_or(seed)), 0.0))
            }
        };
        Self {
            schedule,
            stripe,
            index: stripe.first,
            random,
        }
    }
}

impl Schedule {
    /// Returns the arrivals of a stripe, ordered by time.
    #[must_use]
    pub fn arrivals(&self, stripe: Stripe) -> Arrivals {
        Arrivals::new(self.clone(), stripe)
    }
}

impl Iterator for Arrivals {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let count = match &mut self.random {
            None => to_f64(self.index),
            Some((random, count)) => {
                *count -= (1.0 - random.f64()).ln() * to_f64(self.stripe.count);
                *count
            }
        };
        let at = self.schedule.time_of_count(count)?;
        let index = self.index;
        self.index += self.stripe.count;
        Some(Arrival { index, at })
    }
}
