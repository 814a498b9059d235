//! Runs `loadtest` as a child process.

use std::{
    io::{BufRead, BufReader, Read},
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Output},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// The largest lag of a run. With the default of 20 ms, a run on a busy machine would be invalid.
pub(crate) const MAX_LAG: &str = "--max-lag=1s";

/// Runs `loadtest` and waits until it ends. A run that sets no maximum of its lag gets [`MAX_LAG`].
pub(crate) fn loadtest(arguments: &[&str]) -> Output {
    let sets_lag = arguments.iter().any(|argument| argument.starts_with("--max-lag"));
    let lag = (arguments.first() == Some(&"run") && !sets_lag).then_some(MAX_LAG);
    Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(arguments)
        .args(lag)
        .output()
        .unwrap()
}

/// Sends a signal to a child process.
pub(crate) fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Waits while a process is stopped.
#[expect(clippy::disallowed_methods, reason = "the test needs a stop of this length")]
pub(crate) fn wait_while_stopped(length: Duration) {
    thread::sleep(length);
}

/// Reads the output of a child process line by line.
pub(crate) struct Lines(Receiver<String>);

impl Lines {
    pub(crate) fn of(stream: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self(receiver)
    }

    /// Waits for at most 20 s for a line that contains `text`.
    pub(crate) fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut seen = Vec::new();
        loop {
            match self
                .0
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) if line.contains(text) => return,
                Ok(line) => seen.push(line),
                Err(error) => panic!("no line contains {text:?} ({error}): {seen:#?}"),
            }
        }
    }
}

/// Returns a loopback address without a listener.
pub(crate) fn unused_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
