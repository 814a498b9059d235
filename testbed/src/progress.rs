//! The progress of long operations on standard error: each step with its time, and a heartbeat during long steps.

use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// The time between two messages that a step is still running.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// Runs one step, and prints its name and duration.
///
/// # Errors
/// The error of the step, with the name of the step as context.
pub fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let (done, until_done) = mpsc::channel::<()>();
    let result = std::thread::scope(|scope| {
        scope.spawn(move || {
            while until_done.recv_timeout(HEARTBEAT) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("  …       {name}, {} s so far", start.elapsed().as_secs());
            }
        });
        let result = work();
        drop(done);
        result
    });
    let seconds = start.elapsed().as_secs_f64();
    match result {
        Ok(value) => {
            eprintln!("  ok  {seconds:>6.1} s  {name}");
            Ok(value)
        }
        Err(error) => {
            eprintln!("  FAILED {seconds:>3.1} s  {name}");
            Err(error.context(name.to_owned()))
        }
    }
}

/// A command that the kernel kills when this process exits, for any reason. A plain command on systems other than
/// Linux.
#[must_use]
pub fn bound_to_this_process(program: &str) -> Command {
    if cfg!(target_os = "linux") {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", program]);
        command
    } else {
        Command::new(program)
    }
}

/// Runs a command without output on the terminal, and returns its standard output.
///
/// # Errors
/// When the command cannot be started, or fails. The message then contains the last 30 lines that it printed.
pub fn run(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {shown}"))?;
    check(&shown, output.status, &output.stderr, &output.stdout)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn check(shown: &str, status: ExitStatus, stderr: &[u8], stdout: &[u8]) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(if stderr.is_empty() { stdout } else { stderr });
    let lines: Vec<_> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(30)..].join("\n");
    bail!("{shown}\nfailed with {status}:\n{tail}")
}
