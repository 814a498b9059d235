//! Runs commands with a deadline. The error says which command did not finish, and what it had printed.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::wait;

/// The time between two checks whether a command has exited.
const INTERVAL: Duration = Duration::from_millis(10);

/// The number of lines of output in an error.
const LINES: usize = 30;

/// Runs a command without input until it exits, and returns its output.
///
/// # Errors
/// When the command cannot be started, or does not exit before the deadline. It is then killed, and the message contains
/// the last 30 lines that it printed.
pub fn output(command: &mut Command, deadline: Duration) -> Result<Output> {
    let shown = format!("{command:?}");
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {shown}"))?;
    wait(child, &shown, deadline)
}

/// Waits until a running command exits, and returns the output that it writes to pipes. `shown` names it in errors.
///
/// # Errors
/// When the command does not exit before the deadline, as for [`output`].
pub fn wait(mut child: Child, shown: &str, deadline: Duration) -> Result<Output> {
    let (stdout, stderr) = (Stream::of(child.stdout.take()), Stream::of(child.stderr.take()));
    let is_closed = || stdout.is_closed() && stderr.is_closed();
    match exit_status(&mut child, deadline, is_closed)? {
        Some(status) => Ok(Output {
            status,
            stdout: stdout.content(),
            stderr: stderr.content(),
        }),
        None => bail!(
            "{}",
            describe_timeout(shown, deadline, &[stdout.content(), stderr.content()].concat())
        ),
    }
}

/// Waits until a command exits and `is_done` returns true. At the deadline, kills the command and returns `None`.
pub(crate) fn exit_status(
    child: &mut Child,
    deadline: Duration,
    is_done: impl Fn() -> bool,
) -> Result<Option<ExitStatus>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()?
            && is_done()
        {
            return Ok(Some(status));
        }
        if start.elapsed() >= deadline {
            // The command itself may have exited: a process that it started can still hold its pipes open.
            child.kill().ok();
            child.wait()?;
            return Ok(None);
        }
        wait::pause(INTERVAL);
    }
}

/// Returns the error of a command that did not exit before the deadline.
pub(crate) fn describe_timeout(shown: &str, deadline: Duration, printed: &[u8]) -> String {
    let printed = last_lines(printed);
    let printed = if printed.is_empty() { "nothing" } else { &printed };
    format!(
        "{shown}\nhas not finished within {} s, and was killed. It printed until then:\n{printed}",
        deadline.as_secs_f64()
    )
}

/// Returns the last 30 lines.
pub(crate) fn last_lines(printed: &[u8]) -> String {
    let text = String::from_utf8_lossy(printed);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// The content of a pipe, which a thread reads until it is closed.
struct Stream {
    content: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Stream {
    fn of(pipe: Option<impl Read + Send + 'static>) -> Self {
        let content = Arc::default();
        let reader = pipe.map(|pipe| {
            let content = Arc::clone(&content);
            thread::spawn(move || collect(pipe, &content))
        });
        Self { content, reader }
    }

    fn is_closed(&self) -> bool {
        self.reader.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Returns what has been read until now.
    fn content(&self) -> Vec<u8> {
        self.content
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

fn collect(mut pipe: impl Read, content: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 8192];
    while let Ok(length @ 1..) = pipe.read(&mut buffer) {
        content
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(&buffer[..length]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_command_that_exits_returns_its_whole_output_and_status() {
        let long = "yes | head -n 100000; echo broken >&2; exit 3";
        let output = output(&mut shell(long), Duration::from_mins(1)).unwrap();
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(
            (output.stdout.len(), &output.stderr[..]),
            (200_000, &b"broken\n"[..])
        );
    }

    #[test]
    fn a_command_that_hangs_is_killed_and_the_error_names_it_and_what_it_printed() {
        let start = Instant::now();
        let mut hanging = shell("echo $$; echo waiting for etcd >&2; exec sleep 600");
        let error = output(&mut hanging, Duration::from_secs(1))
            .unwrap_err()
            .to_string();
        for part in ["exec sleep 600", "within 1 s", "waiting for etcd"] {
            assert!(error.contains(part), "{part:?} is missing in: {error}");
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
        let id = error.lines().find_map(|line| line.parse::<u32>().ok()).unwrap();
        assert!(
            !std::path::Path::new(&format!("/proc/{id}")).exists(),
            "process {id} is still running"
        );
    }

    #[test]
    fn a_process_that_a_command_leaves_does_not_extend_the_deadline() {
        let start = Instant::now();
        // The child of the shell holds the pipes open.
        let mut leaving = shell("echo started; sleep 20 & exit 0");
        let error = output(&mut leaving, Duration::from_secs(1))
            .unwrap_err()
            .to_string();
        assert!(error.contains("started"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    }
}
