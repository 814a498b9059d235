//! Reads again that get no answer: one lost answer of the API server says nothing about a release.

use std::{fmt::Display, time::Duration};

use tokio::time::{Instant, sleep};

/// The time between two attempts.
const POLL: Duration = Duration::from_secs(1);

/// Reads until there is an answer.
///
/// # Errors
/// Returns the last error, when the next attempt would come after the deadline.
pub(super) async fn until_answered<T, E: Display>(
    deadline: Instant,
    read: impl AsyncFn() -> Result<T, E>,
) -> Result<T, String> {
    loop {
        match read().await {
            Ok(answer) => return Ok(answer),
            Err(error) if Instant::now() + POLL > deadline => return Err(error.to_string()),
            Err(_) => sleep(POLL).await,
        }
    }
}
