//! Waits for conditions, with a deadline and an error that says what is missing.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// The time between two checks of a condition.
const INTERVAL: Duration = Duration::from_millis(200);

/// Checks `condition` every 200 ms until it returns a value, and returns that value.
///
/// `what` names the condition in the error: "the node is Ready".
///
/// # Errors
/// When the deadline passes first. The message contains `what` and the last error of `condition`.
pub fn until<T>(what: &str, deadline: Duration, mut condition: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        match condition() {
            Ok(value) => return Ok(value),
            Err(error) if start.elapsed() >= deadline => {
                bail!(
                    "{what}: not within {} s. The last check failed: {error:#}",
                    deadline.as_secs()
                )
            }
            Err(_) => pause(INTERVAL),
        }
    }
}

/// Sleeps for `duration`.
#[expect(
    clippy::disallowed_methods,
    reason = "all other code waits for conditions with `until`"
)]
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
