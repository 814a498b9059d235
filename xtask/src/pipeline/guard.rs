//! Runs the commands of a stage while it may run: no signal came, and the lease is held.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use signal_hook::consts::{SIGINT, SIGTERM};
use testbed::wait;

use super::cluster::{has_reason, is_invalid};
use super::lease::Lease;
use super::outcome::Stop;

/// The time between two looks at a running command.
const POLL: Duration = Duration::from_millis(100);

/// How long a command may take to end after SIGTERM: `loadtest` writes its reports. No longer than the margin of the lease.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// How long a request to the API server is repeated while there is no answer.
const ANSWER: Duration = Duration::from_mins(1);

/// The time between two such requests.
const RETRY: Duration = Duration::from_secs(1);

/// The reasons of the API server with which another request would end too.
const ANSWERS: [&str; 7] = [
    "AlreadyExists",
    "BadRequest",
    "Conflict",
    "Forbidden",
    "Invalid",
    "NotFound",
    "Unauthorized",
];

/// Whether the API server has answered with this error.
fn is_answer(error: &anyhow::Error) -> bool {
    ANSWERS.iter().any(|reason| has_reason(error, reason)) || is_invalid(error)
}

/// The signals that stop a stage, once they are caught.
#[derive(Clone, Default)]
pub(super) struct Signals(Arc<AtomicUsize>);

impl Signals {
    /// Catches SIGINT and SIGTERM from now on, so that the lease can be given back.
    ///
    /// # Errors
    /// When a signal cannot be caught.
    pub(super) fn catch() -> Result<Self> {
        let signals = Self::default();
        for (signal, number) in [(SIGINT, 2), (SIGTERM, 15)] {
            signal_hook::flag::register_usize(signal, Arc::clone(&signals.0), number)
                .context("catching signals")?;
        }
        Ok(signals)
    }

    /// Fails after a signal.
    ///
    /// # Errors
    /// [`Stop::Signal`].
    pub(super) fn check(&self) -> Result<()> {
        match self.0.load(Ordering::Relaxed) {
            0 => Ok(()),
            number => Err(Stop::Signal(i32::try_from(number)?).into()),
        }
    }
}

/// What must hold while a stage changes the cluster.
pub(super) struct Guard<'a> {
    pub(super) signals: &'a Signals,
    pub(super) lease: &'a Lease,
}

/// A command that exited.
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Guard<'_> {
    /// Fails when the stage must stop.
    ///
    /// # Errors
    /// A [`Stop`].
    pub(super) fn check(&self) -> Result<()> {
        self.signals.check()?;
        self.lease.check()
    }

    /// Sends a request to the API server. Repeats it for a while if there is no answer: an API server that starts pods may be slow.
    ///
    /// # Errors
    /// A [`Stop`], or the last error of the request.
    pub(super) fn request<T>(&self, send: impl Fn() -> Result<T>) -> Result<T> {
        let start = Instant::now();
        loop {
            self.check()?;
            match send() {
                Err(error) if !error.is::<Stop>() && !is_answer(&error) && start.elapsed() < ANSWER => {
                    wait::pause(RETRY);
                }
                result => return result,
            }
        }
    }

    /// Runs a command, and returns its status and output. Ends it when the stage must stop.
    ///
    /// # Errors
    /// A [`Stop`]; or the command cannot be started, or does not exit before the deadline.
    pub(super) fn run(&self, command: &mut Command, deadline: Duration) -> Result<Ended> {
        let (stdout, stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
        command.stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
        let status = self.run_shown(command, deadline)?;
        Ok(Ended {
            status,
            stdout: content(stdout)?,
            stderr: content(stderr)?,
        })
    }

    /// As [`Self::run`], with the output where the command has it.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(super) fn run_shown(&self, command: &mut Command, deadline: Duration) -> Result<ExitStatus> {
        self.check()?;
        let shown = format!("{command:?}");
        let start = Instant::now();
        let child = command.stdin(Stdio::null()).spawn();
        let mut child = child.with_context(|| format!("cannot run {shown}"))?;
        loop {
            if let Some(status) = child.try_wait()? {
                // The signal may have come to the command too.
                self.check()?;
                return Ok(status);
            }
            let stop = self.check();
            let is_late = start.elapsed() >= deadline;
            if stop.is_err() || is_late {
                end(&mut child)?;
            }
            stop?;
            if is_late {
                bail!(
                    "{shown}\nhas not finished within {} s, and was stopped",
                    deadline.as_secs()
                );
            }
            wait::pause(POLL);
        }
    }
}

fn content(mut file: File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Ends a command with SIGTERM, and kills it if it does not end.
fn end(child: &mut Child) -> Result<()> {
    // It may have exited in the meantime.
    let _ = kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM);
    let ended = wait::until("it ends", STOP_WITHIN, || {
        child.try_wait()?.context("it is still running")
    });
    if ended.is_err() {
        child.kill().ok();
        child.wait()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn run(signals: &Signals, lease: &Lease, script: &str, seconds: u64) -> Result<Ended> {
        Guard { signals, lease }.run(&mut shell(script), Duration::from_secs(seconds))
    }

    #[test]
    fn a_command_runs_to_its_end_or_to_its_deadline() {
        let (signals, lease) = (Signals::default(), Lease::for_tests(true));
        let ended = run(&signals, &lease, "echo out; echo err >&2; exit 3", 60).unwrap();
        assert_eq!(
            (ended.status.code(), &ended.stdout[..], &ended.stderr[..]),
            (Some(3), "out\n", "err\n")
        );
        let error = run(&signals, &lease, "exec sleep 600", 0).err().unwrap();
        assert!(error.to_string().contains("sleep 600"), "{error}");
    }

    #[test]
    fn a_request_without_an_answer_is_repeated() {
        let (signals, lease) = (Signals::default(), Lease::for_tests(true));
        let guard = Guard {
            signals: &signals,
            lease: &lease,
        };
        let requests = std::cell::Cell::new(0);
        let send = |error: &'static str| {
            requests.set(requests.get() + 1);
            if requests.get() == 2 { Ok(7) } else { bail!(error) }
        };
        let answer = guard.request(|| send("has not finished within 8 s"));
        assert_eq!((answer.unwrap(), requests.get()), (7, 2));
        requests.set(0);
        let refused = guard.request(|| send("Error from server (Forbidden): annotate"));
        assert!(refused.is_err());
        assert_eq!(requests.get(), 1);
    }

    #[test]
    fn a_signal_ends_the_running_command() {
        let (signals, lease) = (Signals::default(), Lease::for_tests(true));
        let flag = Arc::clone(&signals.0);
        let folder = tempfile::tempdir().unwrap();
        let (started, ended) = (folder.path().join("started"), folder.path().join("ended"));
        let script = format!(
            "trap 'touch {}; exit 0' TERM; touch {}; while true; do sleep 0.1; done",
            ended.display(),
            started.display()
        );
        let seen = started.clone();
        let signaller = std::thread::spawn(move || {
            wait::until("it has started", Duration::from_mins(1), || {
                Ok(std::fs::metadata(&seen)?)
            })
            .unwrap();
            flag.store(15, Ordering::Relaxed);
        });
        let error = run(&signals, &lease, &script, 60).err().unwrap();
        signaller.join().unwrap();
        assert_eq!(error.downcast_ref(), Some(&Stop::Signal(15)), "{error:#}");
        assert!(ended.exists(), "the command had no time to end in order");
    }

    #[test]
    fn nothing_starts_without_the_lease() {
        let (signals, lease) = (Signals::default(), Lease::for_tests(false));
        let folder = tempfile::tempdir().unwrap();
        let started = folder.path().join("started");
        let error = run(&signals, &lease, &format!("touch {}", started.display()), 60)
            .err()
            .unwrap();
        assert!(
            matches!(error.downcast_ref(), Some(Stop::LeaseLost(_))),
            "{error:#}"
        );
        assert!(!started.exists());
    }
}
