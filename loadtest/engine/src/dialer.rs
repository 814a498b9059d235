//! Opens the connections of one stripe to one origin, round-robin over its addresses. Each connection has an expiry time.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use super::{
    failure::Failure,
    host::Host,
    network::{Network, Stream},
    target::Origin,
};

pub(crate) struct Dialer {
    network: Network,
    origin: Origin,
    host: Host,
    /// The maximum age of a connection, with jitter. An older connection is replaced before its next request.
    max_age: Option<Duration>,
    /// The index of the stripe. Stripes start at different addresses and have different jitter.
    stripe: u64,
    opened: Cell<u64>,
}

/// A new connection that has carried no request.
pub(crate) struct Dialed {
    pub(crate) stream: Stream,
    /// When the connection must be replaced; `None` for never.
    pub(crate) expires: Option<Instant>,
}

impl Dialer {
    pub(crate) fn new(
        network: Network,
        origin: Origin,
        host: Host,
        max_age: Option<Duration>,
        stripe: u64,
    ) -> Self {
        Self {
            network,
            origin,
            host,
            max_age,
            stripe,
            opened: Cell::new(0),
        }
    }

    /// Returns the number of connections opened so far, including failed attempts.
    pub(crate) fn opened(&self) -> u64 {
        self.opened.get()
    }

    pub(crate) async fn dial(&self) -> Result<Dialed, Failure> {
        let addresses = self.host.addresses().await?;
        let number = self.opened.get();
        self.opened.set(number + 1);
        // Stripes with few connections would otherwise all use the first addresses.
        let position = self.stripe.wrapping_add(number) % addresses.len() as u64;
        let position = usize::try_from(position).unwrap_or_default();
        let stream = self
            .network
            .open(&self.origin, addresses[position])
            .await
            .map_err(|error| Failure::connect(&error))?;
        let expires = self
            .max_age
            .map(|age| Instant::now() + jittered(age, (self.stripe << 32).wrapping_add(number)));
        Ok(Dialed { stream, expires })
    }
}

/// Returns `age` with a jitter of up to 20 %, so that connections opened together do not expire together.
fn jittered(age: Duration, seed: u64) -> Duration {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a share between 0 and 1; its last bits do not matter"
    )]
    let share = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) as f64 / 18_446_744_073_709_551_616.0;
    age.mul_f64(0.8 + 0.4 * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jittered_ages_differ_by_at_most_20_percent() {
        let ages: Vec<Duration> = (0..100)
            .map(|seed| jittered(Duration::from_secs(10), seed))
            .collect();
        assert!(
            ages.iter().all(|age| (8.0..=12.0).contains(&age.as_secs_f64())),
            "{ages:?}"
        );
        let early = ages.iter().filter(|age| age.as_secs_f64() < 10.0).count();
        assert!(
            (40..=60).contains(&early),
            "{early} of 100 ages are below the mean"
        );
    }
}
