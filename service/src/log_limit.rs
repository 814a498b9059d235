//! Limits the failures that are logged for one cause. An overload would otherwise add a log line for each failure.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The maximum number of failures of one cause that are logged in one window.
const MAX_LOGGED: u32 = 10;

const WINDOW: Duration = Duration::from_secs(1);

/// The maximum number of causes that are counted separately. Further causes share one count.
const MAX_CAUSES: usize = 64;

/// The name of the shared count.
const OTHER: &str = "other causes";

/// The limit, shared by everything that can fail for the same causes, such as all requests of a server.
#[derive(Debug, Default)]
pub(crate) struct LogLimit {
    causes: Mutex<HashMap<String, Window>>,
}

#[derive(Debug)]
struct Window {
    end: Instant,
    logged: u32,
    left_out: u64,
}

impl Window {
    fn start() -> Self {
        Self {
            end: Instant::now() + WINDOW,
            logged: 0,
            left_out: 0,
        }
    }

    /// Whether the window has ended without anything to report.
    fn is_done(&self) -> bool {
        self.left_out == 0 && self.end <= Instant::now()
    }
}

impl LogLimit {
    /// Returns whether a failure may be logged. At the end of the window, a warning says how many were left out. Needs
    /// a runtime.
    pub(crate) fn admits(&'static self, cause: &str) -> bool {
        let mut causes = self.causes.lock().unwrap_or_else(PoisonError::into_inner);
        if !causes.contains_key(cause) && causes.len() >= MAX_CAUSES {
            causes.retain(|_, window| !window.is_done());
        }
        let is_counted = causes.contains_key(cause) || causes.len() < MAX_CAUSES;
        let cause = if is_counted { cause } else { OTHER };
        let window = causes.entry(cause.to_owned()).or_insert_with(Window::start);
        if window.is_done() {
            *window = Window::start();
        }
        if window.logged < MAX_LOGGED {
            window.logged += 1;
            return true;
        }
        window.left_out += 1;
        if window.left_out == 1 {
            tokio::spawn(self.report(cause.to_owned(), window.end));
        }
        false
    }

    async fn report(&'static self, cause: String, end: Instant) {
        sleep_until(end).await;
        let window = self
            .causes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&cause);
        if let Some(window) = window {
            tracing::warn!(
                error = cause,
                log.left_out = window.left_out,
                "further failures had this cause"
            );
        }
    }
}
