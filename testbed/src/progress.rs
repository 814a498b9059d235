//! The progress of long operations on standard error: each step with its time, and a heartbeat during long steps.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
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

/// Runs a command and writes its output to `log`, which only its owner can read: the output may contain a secret.
///
/// # Errors
/// When the command cannot run, or when it fails. The message then contains the end of the output and the path of the log.
pub fn run_to_log(command: &mut Command, log: &Path) -> Result<()> {
    let shown = format!("{command:?}");
    // An existing file would keep its mode.
    let _ = fs::remove_file(log);
    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(log)
        .with_context(|| format!("cannot create {}", log.display()))?;
    let status = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()
        .with_context(|| format!("cannot run {shown}"))?;
    let output = fs::read(log)?;
    check(&shown, status, &output, &[]).with_context(|| format!("the whole output is in {}", log.display()))
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
        let error = format!("{:#}", run_to_log(&mut command, &log).unwrap_err());
        assert!(
            error.contains("broken") && error.contains("command.log"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&log).unwrap(), "started\nbroken\n");
        assert_eq!(fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
