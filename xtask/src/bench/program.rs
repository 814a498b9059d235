//! Processes under measurement. They are killed when they are dropped, and can be pinned to a core.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testbed::progress;

/// The core of the server. The generator runs on [`GENERATOR_CORE`].
pub(super) const SERVER_CORE: usize = 0;

/// The core of the generator.
pub(super) const GENERATOR_CORE: usize = 1;

/// How long a server may take to start.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The interval between two polls of a process. Polling costs less than a thousandth of a core.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A command that runs on one core, and is killed when this process exits.
pub(super) fn pinned(program: &Path, core: usize) -> Command {
    let mut command = progress::bound_to_this_process("taskset");
    command.args(["--cpu-list", &core.to_string()]).arg(program);
    command
}

/// A process. It is killed when it is dropped.
pub(super) struct Process(Child);

impl Process {
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self(child))
    }

    /// Sends SIGTERM.
    ///
    /// # Errors
    /// When the process has already exited and was waited for.
    pub(super) fn terminate(&self) -> Result<()> {
        kill(Pid::from_raw(self.0.id().try_into()?), Signal::SIGTERM).context("cannot send SIGTERM")
    }

    /// Waits until the process exits.
    ///
    /// # Errors
    /// When it is still running after `timeout`.
    pub(super) fn wait_for_exit(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            ensure!(Instant::now() < deadline, "still running after {timeout:?}");
            pause(POLL_INTERVAL);
        }
    }

    /// The resident memory in megabytes (10^6 bytes).
    pub(super) fn resident_megabytes(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes: u64 = match line.and_then(|line| line.trim().strip_suffix(" kB")) {
            Some(number) => number.trim().parse()?,
            None => bail!("the kernel reports no VmRSS: the process has exited"),
        };
        #[expect(clippy::cast_precision_loss, reason = "a size for people")]
        let bytes = (kibibytes * 1024) as f64;
        Ok(bytes / 1e6)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A server under measurement. It is killed when it is dropped.
pub(super) struct Server {
    pub(super) process: Process,
    /// The address that it listens on.
    pub(super) address: String,
}

impl Server {
    /// Starts a service, and waits until its healthcheck succeeds.
    pub(super) fn service(program: &Path, variables: &[(&str, &str)]) -> Result<Self> {
        let mut command = progress::bound_to_this_process(&program.to_string_lossy());
        command.envs(variables.iter().copied());
        Self::service_as(command, program)
    }

    /// Starts a service with `command`, such as an analysis tool that runs `program`, and waits until the health check
    /// succeeds.
    pub(super) fn service_as(mut command: Command, program: &Path) -> Result<Self> {
        let (address, admin) = (free_address()?, free_address()?);
        command.env("LISTEN", &address).env("ADMIN_LISTEN", &admin);
        Self::start(&mut command, address, |_| {
            let mut check = Command::new(program);
            check
                .arg("healthcheck")
                .env("ADMIN_LISTEN", &admin)
                .stderr(Stdio::null());
            Ok(check.status()?.success())
        })
    }

    /// Starts a program whose first argument is the address to listen on, and waits until it listens.
    pub(super) fn bare(mut command: Command, arguments: &[&str]) -> Result<Self> {
        let address = free_address()?;
        command.arg(&address).args(arguments);
        Self::start(&mut command, address, |address| {
            Ok(TcpStream::connect(address).is_ok())
        })
    }

    fn start(
        command: &mut Command,
        address: String,
        is_ready: impl Fn(&str) -> Result<bool>,
    ) -> Result<Self> {
        let process = Process::start(command.stdout(Stdio::null()))?;
        let started = Self { process, address };
        let deadline = Instant::now() + TIMEOUT;
        while !is_ready(&started.address)? {
            ensure!(
                Instant::now() < deadline,
                "{} is not ready after {TIMEOUT:?}",
                started.address
            );
            pause(POLL_INTERVAL);
        }
        Ok(started)
    }
}

#[expect(clippy::disallowed_methods, reason = "a process offers no event to wait for")]
pub(super) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// An address of this machine that no process listens on.
pub(super) fn free_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}
