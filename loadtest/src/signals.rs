//! Ctrl-C and SIGTERM: the first ends the run in order, the second at once.

use std::{io, process};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::exit::Exit;

/// Whether, and a way to wait until, the user asked to stop.
#[derive(Clone, Debug)]
pub struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Listens from now on. After the first signal, a second one ends the process at once, without reports.
    ///
    /// # Errors
    /// When the signals cannot be listened to.
    pub fn listen() -> io::Result<Self> {
        let mut interrupts = signal(SignalKind::interrupt())?;
        let mut terminations = signal(SignalKind::terminate())?;
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupts.recv() => {}
                    _ = terminations.recv() => {}
                }
                if sender.send_replace(true) {
                    process::exit(Exit::Interrupted.code().into());
                }
            }
        });
        Ok(Self(receiver))
    }

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
