//! The progress of long operations on standard error: each step with its time, and a heartbeat during long steps.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::command;

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
/// For commands that take as long as the machine needs, such as builds. For all others: [`run_within`].
///
/// # Errors
/// When the command cannot be started, or fails. The message then contains the last 30 lines that it printed.
pub fn run(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {shown}"))?;
    check(&shown, &output)
}

/// As [`run`], with a deadline.
///
/// # Errors
/// As [`run`], and when the command does not exit before the deadline. It is then killed.
pub fn run_within(deadline: Duration, command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    check(&shown, &command::output(command, deadline)?)
}

/// Runs a command and writes its output to `log`, which only its owner can read: the output may contain a secret.
///
/// # Errors
/// When the command cannot run, when it fails, or when it does not exit before the deadline, and is killed. The message then
/// contains the end of the output and the path of the log.
pub fn run_to_log(command: &mut Command, log: &Path, deadline: Duration) -> Result<()> {
    let shown = format!("{command:?}");
    // An existing file would keep its mode.
    let _ = fs::remove_file(log);
    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(log)
        .with_context(|| format!("cannot create {}", log.display()))?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()
        .with_context(|| format!("cannot run {shown}"))?;
    let status = command::exit_status(&mut child, deadline, || true)?;
    let printed = fs::read(log)?;
    let failure = match status {
        Some(status) if status.success() => return Ok(()),
        Some(status) => describe_failure(&shown, status, &printed),
        None => command::describe_timeout(&shown, deadline, &printed),
    };
    bail!("the whole output is in {}: {failure}", log.display())
}

/// Returns the standard output of a command that succeeded.
fn check(shown: &str, output: &Output) -> Result<String> {
    let Output {
        status,
        stdout,
        stderr,
    } = output;
    if !status.success() {
        let printed = if stderr.is_empty() { stdout } else { stderr };
        bail!(describe_failure(shown, *status, printed));
    }
    Ok(String::from_utf8_lossy(stdout).into_owned())
}

fn describe_failure(shown: &str, status: ExitStatus, printed: &[u8]) -> String {
    format!("{shown}\nfailed with {status}:\n{}", command::last_lines(printed))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_log_has_the_whole_output_of_a_failed_command_and_only_its_owner_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("command.log");
        fs::write(&log, "of an earlier run").unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo started; echo broken >&2; exit 3"]);
        let error = run_to_log(&mut command, &log, Duration::from_mins(1));
        let error = format!("{:#}", error.unwrap_err());
        assert!(
            error.contains("broken") && error.contains("command.log"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&log).unwrap(), "started\nbroken\n");
        assert_eq!(fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_command_that_hangs_is_killed_and_its_log_stays() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("command.log");
        let mut command = Command::new("sh");
        command.args(["-c", "echo started; exec sleep 600"]);
        let error = run_to_log(&mut command, &log, Duration::from_secs(1));
        let error = format!("{:#}", error.unwrap_err());
        for part in ["sleep 600", "within 1 s", "started", "command.log"] {
            assert!(error.contains(part), "{part:?} is missing in: {error}");
        }
    }
}
