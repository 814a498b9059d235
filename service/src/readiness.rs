//! Whether this instance wants traffic. It goes starting -> ready -> leaving and never back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// What /readyz says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Not everything that serving needs is there yet.
    Starting,
    /// Traffic is welcome.
    Ready,
    /// The process was told to end: new traffic should go elsewhere.
    Leaving,
}

/// A latch shared by the server, which moves it, and the admin listener, which reports it.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicU8>);

impl Readiness {
    /// The state now.
    #[must_use]
    pub fn state(&self) -> State {
        match self.0.load(Ordering::Acquire) {
            0 => State::Starting,
            1 => State::Ready,
            _ => State::Leaving,
        }
    }

    /// Moves on to `state`; a step back is ignored.
    pub fn advance(&self, state: State) {
        self.0.fetch_max(state as u8, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_ready_again_after_leaving() {
        let readiness = Readiness::default();
        assert_eq!(readiness.state(), State::Starting);
        readiness.advance(State::Ready);
        assert_eq!(readiness.state(), State::Ready);
        readiness.advance(State::Leaving);
        readiness.advance(State::Ready);
        assert_eq!(readiness.state(), State::Leaving);
    }
}
