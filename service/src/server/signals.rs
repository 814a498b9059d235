//! SIGTERM and SIGINT as a future.

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Handlers for the signals that shut a service down. Installed at the start, so that an early signal is not lost.
/// Without a handler, the kernel ignores the signals for the first process of a container.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Installs the handlers.
    ///
    /// # Errors
    /// When the kernel rejects a handler.
    pub fn install() -> Result<Self> {
        let install = |kind| signal(kind).context("installing a signal handler");
        Ok(Self {
            terminate: install(SignalKind::terminate())?,
            interrupt: install(SignalKind::interrupt())?,
        })
    }

    /// Completes at the next signal.
    pub async fn received(&mut self) {
        let name = tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "received a signal: shutting down");
    }
}
