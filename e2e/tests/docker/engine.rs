//! A Docker engine in namespaces of its own. It neither needs nor changes a daemon of the machine.

use std::fs;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sched::{CloneFlags, setns};
use tempfile::TempDir;
use testbed::components::COMPOSE;
use testbed::{paths, progress, wait};

/// Process 1 of the namespaces. It exits with the daemon. The daemon's own folders are all below `$1`.
const INIT: &str = r#"
mount --make-rprivate /
mount -t proc proc /proc
ip link set lo up
exec dockerd --host "unix://$1/docker.sock" --data-root "$1/data" --exec-root "$1/exec" --pidfile "$1/pid" --log-level warn
"#;

/// A version of Docker Compose.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Compose {
    /// Compose 1, in Python: Debian's package.
    One,
    /// Compose 2, in Go.
    Two,
}

impl Compose {
    /// The command in the root of the workspace.
    pub(crate) fn command(self, arguments: &[&str]) -> Command {
        let mut command = match self {
            Self::One => Command::new("docker-compose"),
            Self::Two => Command::new(COMPOSE.path()),
        };
        command.current_dir(paths::workspace()).args(arguments);
        command
    }
}

/// A running engine. Dropping it, or the exit of this process, stops it: the kernel kills every process of its PID namespace.
pub(crate) struct Engine {
    folder: TempDir,
    unshare: Child,
}

impl Engine {
    /// Starts an engine, and moves the calling thread into the engine's network namespace.
    ///
    /// The ports of containers are then reachable on the loopback of this thread and of the processes that it starts.
    pub(crate) fn start() -> Result<Self> {
        // On a real disk: the storage driver overlay2 does not work on an overlay.
        let folder = tempfile::Builder::new()
            .prefix("docker-")
            .tempdir_in(paths::target())?;
        let log = fs::File::create(folder.path().join("log"))?;
        let unshare = progress::bound_to_this_process("unshare")
            .args([
                "--mount",
                "--pid",
                "--net",
                "--ipc",
                "--uts",
                "--fork",
                "--kill-child",
                "--",
            ])
            .args(["sh", "-ec", INIT, "sh"])
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot run unshare")?;
        let mut engine = Self { folder, unshare };
        wait::until("the Docker engine answers", Duration::from_mins(1), || {
            if let Some(status) = engine.unshare.try_wait()? {
                bail!("the engine exited with {status}: {}", engine.log());
            }
            engine.docker(&["version"]).with_context(|| engine.log())
        })?;
        let namespace = fs::File::open(format!("/proc/{}/ns/net", engine.first_process()?))?;
        setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)
            .context("cannot enter the network of the engine")?;
        Ok(engine)
    }

    /// Makes a command use this engine.
    pub(crate) fn with<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env(
            "DOCKER_HOST",
            format!("unix://{}/docker.sock", self.folder.path().display()),
        )
    }

    /// Runs `docker`, and returns its standard output.
    pub(crate) fn docker(&self, arguments: &[&str]) -> Result<String> {
        e2e::succeed(self.with(Command::new("docker").args(arguments)))
    }

    /// Runs Docker Compose in the root of the workspace, and returns its standard output.
    pub(crate) fn compose(&self, compose: Compose, arguments: &[&str]) -> Result<String> {
        e2e::succeed(self.with(&mut compose.command(arguments)))
    }

    /// Sends SIGKILL to the process of a container, as the kernel does when memory runs out. `docker kill` would count as a
    /// stop by the user.
    pub(crate) fn kill_process(&self, container: &str) -> Result<()> {
        let process = self.docker(&["inspect", "--format", "{{.State.Pid}}", container])?;
        let target = format!("--target={}", self.first_process()?);
        e2e::succeed(Command::new("nsenter").args([
            &target,
            "--pid",
            "--mount",
            "kill",
            "-KILL",
            process.trim(),
        ]))
        .map(drop)
    }

    /// The process ID of process 1 of the namespaces: the only child of `unshare`.
    fn first_process(&self) -> Result<u32> {
        let id = self.unshare.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        children.trim().parse().context("unshare has no child")
    }

    /// The end of the daemon's log.
    pub(crate) fn log(&self) -> String {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// The folder of the engine, for files of a test.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // `--kill-child`: process 1 dies with `unshare`, and every other process with process 1.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}
