//! SIGINT (Ctrl-C) and SIGTERM: the first signal starts a graceful shutdown, the second ends the process immediately.

use std::{io, process};

use engine::Interrupt;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::exit::Exit;

/// Starts to listen for signals. After the first signal, a second one ends the process immediately, without reports.
///
/// # Errors
/// When the signal handlers cannot be installed.
pub fn listen() -> io::Result<Interrupt> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    let sender = watch::Sender::new(false);
    let interrupt = Interrupt::from_sender(&sender);
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
    Ok(interrupt)
}
