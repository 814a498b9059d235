//! What a person sees while something takes long: each step with its time, and a sign of life in between.

use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// How long a step may stay silent before it says that it goes on.
const SIGN_OF_LIFE: Duration = Duration::from_secs(30);

/// Does one step, and prints its name and how long it took.
///
/// # Errors
/// Those of the step, with its name.
pub fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let (done, is_done) = mpsc::channel::<()>();
    let result = std::thread::scope(|scope| {
        scope.spawn(move || {
            while is_done.recv_timeout(SIGN_OF_LIFE) == Err(mpsc::RecvTimeoutError::Timeout) {
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

/// A command that ends when this process does, whatever ends it.
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

/// Runs a command quietly.
///
/// # Errors
/// When it cannot be started, or fails: then with the end of what it printed.
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
    bail!("{shown}\nended with {status}:\n{tail}")
}
