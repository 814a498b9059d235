//! The arrivals of a schedule, and how they are shared out among threads, processes and pods.

use std::{str::FromStr, time::Duration};

use fastrand::Rng;

use super::schedule::{Schedule, Spacing};
use crate::units::to_f64;

/// The most processes that share a schedule.
pub const MAX_STRIPES: u64 = 1000;

/// The part of a schedule that one process sends, or one thread: every `of`-th arrival, starting with `first`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stripe {
    /// The first index that belongs to this stripe.
    pub first: u64,
    /// The number of stripes.
    pub count: u64,
}

impl Stripe {
    /// All of a schedule.
    pub const WHOLE: Self = Self { first: 0, count: 1 };

    /// The part of one of the `threads` that share this stripe out among them.
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
            format!("`{text}` is no stripe; write 0/3, 1/3 and 2/3 for three, up to {MAX_STRIPES}")
        })
    }
}

/// When one request is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Its number among those of all stripes.
    pub index: u64,
    /// Its intended start, since the start of the run.
    pub at: Duration,
}

/// The arrivals of one stripe, in the order of time.
#[derive(Clone, Debug)]
pub struct Arrivals {
    schedule: Schedule,
    stripe: Stripe,
    index: u64,
    /// The stripe's own random numbers and the count that they have come to. Independent Poisson processes of a share of
    /// the rate each are together one of the whole rate.
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
    /// A stripe's part of the arrivals, in the order of time.
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
