//! Whether this instance accepts traffic. The state only advances: starting, ready, shutting down.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// The state that `/readyz` reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// The service does not accept traffic yet: it still opens what it needs, such as the database.
    Starting,
    /// The service accepts traffic.
    Ready,
    /// The process is shutting down. New traffic should go to another instance.
    ShuttingDown,
}

/// The readiness of the process. The server advances it, and the admin listener reports it. Clones share the state.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicU8>);

impl Readiness {
    /// Returns the current state.
    #[must_use]
    pub fn state(&self) -> State {
        match self.0.load(Ordering::Acquire) {
            0 => State::Starting,
            1 => State::Ready,
            _ => State::ShuttingDown,
        }
    }

    /// Advances to `state`. A step back is ignored.
    pub fn advance(&self, state: State) {
        self.0.fetch_max(state as u8, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shutdown_never_becomes_ready_again() {
        let readiness = Readiness::default();
        assert_eq!(readiness.state(), State::Starting);
        readiness.advance(State::Ready);
        assert_eq!(readiness.state(), State::Ready);
        readiness.advance(State::ShuttingDown);
        readiness.advance(State::Ready);
        assert_eq!(readiness.state(), State::ShuttingDown);
    }
}
