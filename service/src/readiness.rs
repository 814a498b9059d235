//! Whether this instance accepts traffic. The state only advances: starting, ready, shutting down. A fault may come and go.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
pub struct Readiness(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: AtomicU8,
    fault: Mutex<Option<String>>,
}

impl Readiness {
    /// Returns the current state.
    #[must_use]
    pub fn state(&self) -> State {
        match self.0.state.load(Ordering::Acquire) {
            0 => State::Starting,
            1 => State::Ready,
            _ => State::ShuttingDown,
        }
    }

    /// Advances to `state`. A step back is ignored.
    pub fn advance(&self, state: State) {
        self.0.state.fetch_max(state as u8, Ordering::AcqRel);
    }

    /// Returns the present fault, with which the instance is not ready.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.lock().clone()
    }

    /// Sets the fault. Returns whether there was none before.
    #[must_use]
    pub fn set_fault(&self, fault: &str) -> bool {
        self.lock().replace(fault.to_owned()).is_none()
    }

    /// Clears the fault. Returns whether there was one before.
    #[must_use]
    pub fn clear_fault(&self) -> bool {
        self.lock().take().is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.0.fault.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[test]
    fn a_fault_comes_and_goes() {
        let readiness = Readiness::default();
        assert!(!readiness.clear_fault());
        assert!(readiness.set_fault("the disk is gone"));
        assert!(!readiness.set_fault("the disk is still gone"));
        assert_eq!(readiness.fault().as_deref(), Some("the disk is still gone"));
        assert!(readiness.clear_fault());
        assert_eq!(readiness.fault(), None);
    }
}
