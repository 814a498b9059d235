//! The namespaces of the cluster, as the commands use them: create, enter, kill.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{paths, progress, wait};

/// The arguments with which this program runs as the first process of the cluster (`init::run`).
pub(crate) const INIT_ARGUMENTS: [&str; 2] = ["cluster", "init"];

/// The message that `cluster up` writes to the standard input of the first process when the cluster is ready.
///
/// If standard input closes without this message, the cluster stops.
pub(crate) const DETACH: &[u8] = b"detach";

/// A running sandbox: the namespaces of the first process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sandbox {
    /// The process ID of the first process, in the PID namespace of the machine.
    pub(crate) init: Pid,
}

/// A sandbox that stops when this process exits, unless it is detached before.
pub(crate) struct Attached {
    pub(crate) sandbox: Sandbox,
    unshare: Child,
    input: ChildStdin,
}

impl Sandbox {
    /// Finds the running sandbox.
    ///
    /// The process ID in the lock file counts only while a process holds the lock. Otherwise the machine may have
    /// given the ID to another process.
    pub(crate) fn find() -> Result<Option<Self>> {
        let Ok(mut lock) = File::open(paths::cluster_lock()) else {
            return Ok(None);
        };
        match lock.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(fs::TryLockError::WouldBlock) => {
                let mut process_id = String::new();
                lock.read_to_string(&mut process_id)?;
                let process_id = process_id
                    .parse()
                    .context("the first process has not written its process ID yet")?;
                Ok(Some(Self {
                    init: Pid::from_raw(process_id),
                }))
            }
            Err(fs::TryLockError::Error(error)) => Err(error).context("cannot test the lock of the cluster"),
        }
    }

    /// Creates the namespaces, and waits until their first process has started containerd.
    pub(crate) fn start() -> Result<Attached> {
        fs::create_dir_all(paths::logs())?;
        let log = File::create(paths::logs().join("init.log"))?;
        let mut unshare = Command::new("unshare")
            .args([
                "--mount",
                "--pid",
                "--ipc",
                "--uts",
                "--fork",
                "--kill-child",
                "--",
            ])
            .arg(std::env::current_exe()?)
            .args(INIT_ARGUMENTS)
            // A process group of its own: Ctrl-C stops only the command. The first process then sees its standard
            // input close.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot run unshare")?;
        let input = unshare.stdin.take().context("no pipe to the first process")?;
        let sandbox = wait::until(
            "the namespaces of the cluster are ready",
            Duration::from_secs(20),
            || {
                if let Some(status) = unshare.try_wait()? {
                    let log = fs::read_to_string(paths::logs().join("init.log")).unwrap_or_default();
                    bail!("the first process exited with {status}: {}", log.trim());
                }
                let sandbox = Self::find()?.context("the first process does not hold its lock yet")?;
                progress::run(sandbox.enter("ctr").args(["version"]))
                    .context("containerd does not answer yet")?;
                Ok(sandbox)
            },
        )?;
        Ok(Attached {
            sandbox,
            unshare,
            input,
        })
    }

    /// A command that runs inside the sandbox, in the current folder. Its PATH starts with the folder of the
    /// components, and KUBECONFIG names the administrator's kubeconfig.
    pub(crate) fn enter(self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        let path = format!(
            "{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            paths::binaries().display()
        );
        command
            .args(["--mount", "--net", "--pid", "--ipc", "--uts"])
            .arg(format!("--target={}", self.init))
            .arg(format!(
                "--wd={}",
                std::env::current_dir().unwrap_or_default().display()
            ))
            .args([
                "--",
                "env",
                &format!("PATH={path}"),
                "KUBECONFIG=/etc/kubernetes/admin.conf",
                program,
            ]);
        command
    }

    /// Kills the first process, and waits until it has released the lock. The kernel kills all other processes.
    pub(crate) fn kill(self) -> Result<()> {
        match kill(self.init, Signal::SIGKILL) {
            // ESRCH: the process has exited since `find`.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(error).context("cannot kill the first process of the cluster"),
        }
        wait::until(
            "the processes of the cluster have exited",
            Duration::from_mins(1),
            || match Self::find()? {
                Some(_) => bail!("process {} still holds the lock", self.init),
                None => Ok(()),
            },
        )
    }
}

impl Attached {
    /// Lets the sandbox run on after this process exits.
    pub(crate) fn detach(mut self) -> Result<()> {
        self.input.write_all(DETACH).context("the cluster has stopped")?;
        drop(self.input);
        if let Some(status) = self.unshare.try_wait()? {
            bail!("the cluster stopped: {status}");
        }
        Ok(())
    }
}
