//! A request to stop, for those who must heed it.

use tokio::sync::watch;

/// Whether, and a way to wait until, the user asked to stop.
#[derive(Clone, Debug)]
pub struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// One that never comes, for callers without a user.
    #[must_use]
    pub fn never() -> Self {
        Self::by(&watch::channel(false).0)
    }

    /// One that comes when the caller sends `true`.
    #[must_use]
    pub fn by(sender: &watch::Sender<bool>) -> Self {
        Self(sender.subscribe())
    }

    /// Whether the user asked to stop.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Resolves when the user asks to stop.
    pub async fn requested(&mut self) {
        if self.0.wait_for(|requested| *requested).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
