//! The user's request to stop.

use tokio::sync::watch;

/// Tells whether the user asked to stop, and waits for it.
#[derive(Clone, Debug)]
pub struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Creates an interrupt that never occurs, for callers without a user.
    #[must_use]
    pub fn never() -> Self {
        Self::from_sender(&watch::channel(false).0)
    }

    /// Creates an interrupt that occurs when the sender sends `true`.
    #[must_use]
    pub fn from_sender(sender: &watch::Sender<bool>) -> Self {
        Self(sender.subscribe())
    }

    /// Returns whether the user asked to stop.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the user asks to stop.
    pub async fn requested(&mut self) {
        if self.0.wait_for(|requested| *requested).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
