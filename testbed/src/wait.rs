//! Waiting for a condition, with a deadline and a message that says what was still missing.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at: short beside what is waited for, long beside what a look costs.
const INTERVAL: Duration = Duration::from_millis(200);

/// Looks at `condition` until it gives a value.
///
/// # Errors
/// When the deadline passes first: `what`, and the last reason that `condition` gave.
pub fn until<T>(what: &str, deadline: Duration, mut condition: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        match condition() {
            Ok(value) => return Ok(value),
            Err(missing) if start.elapsed() >= deadline => {
                bail!(
                    "{what}: not within {} s; still missing: {missing:#}",
                    deadline.as_secs()
                )
            }
            Err(_) => pause(INTERVAL),
        }
    }
}

/// Lets `duration` pass.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that polls; everything else waits through it"
)]
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
