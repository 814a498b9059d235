//! The namespaces of the cluster, as the commands use them: create, enter, kill.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::{paths, progress, wait};

/// The first arguments with which this program runs as the first process of the cluster (`init::run`).
pub(crate) const INIT_ARGUMENTS: [&str; 2] = ["cluster", "init"];

/// The message that `cluster up` writes to the standard input of the first process when the cluster is ready.
///
/// If standard input closes without this message, the cluster stops.
pub(crate) const DETACH: &[u8] = b"detach";

/// A running sandbox: the namespaces of the first process of the cluster, or of an added node.
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
                let init = process_id.parse().ok().and_then(Pid::from_raw);
                let init = init.context("the first process has not written its process ID yet")?;
                Ok(Some(Self { init }))
            }
            Err(fs::TryLockError::Error(error)) => Err(error).context("cannot test the lock of the cluster"),
        }
    }

    /// Creates the namespaces, and waits until their first process has started containerd. It gets `arguments`.
    pub(crate) fn start(arguments: &[String]) -> Result<Attached> {
        // The services of a node append to their logs, because they may restart.
        paths::remove_folder(&paths::logs())?;
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
            .args(arguments)
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
                progress::run_within(Duration::from_secs(10), sandbox.enter("ctr").args(["version"]))
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

    /// Kills the first process. Waits until it and its parent, `unshare`, have exited. The kernel kills all other
    /// processes of the namespaces.
    pub(crate) fn kill(self) -> Result<()> {
        let Some((init, unshare)) = self.process_descriptors()? else {
            return Ok(());
        };
        match pidfd_send_signal(&init, Signal::KILL) {
            // SRCH: the process has exited.
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => return Err(error).context("cannot kill the first process of the cluster"),
        }
        // The lock is free when the first process exits. `unshare` exits after it.
        for (name, descriptor) in [("the first process", init), ("unshare", unshare)] {
            wait_for_exit(&descriptor).with_context(|| format!("{name} of the cluster"))?;
        }
        Ok(())
    }

    /// Opens descriptors of the first process and of its parent. `None` if the cluster has stopped.
    ///
    /// A descriptor names one process, even after its process ID names another one.
    fn process_descriptors(self) -> Result<Option<(OwnedFd, OwnedFd)>> {
        let open = |process: Pid| match pidfd_open(process, PidfdFlags::empty()) {
            Ok(descriptor) => Ok(Some(descriptor)),
            Err(Errno::SRCH) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot open process {process}")),
        };
        let Some(parent) = self.parent() else {
            return Ok(None);
        };
        let (Some(init), Some(unshare)) = (open(self.init)?, open(parent)?) else {
            return Ok(None);
        };
        // If the first process still holds the lock, both descriptors name processes of this cluster. `unshare` cannot
        // exit before it, because of `--kill-child`.
        let is_same = Self::find()?.is_some_and(|found| found.init == self.init);
        Ok(is_same.then_some((init, unshare)))
    }

    /// Returns the process ID of the parent of the first process. `None` if the first process has exited.
    fn parent(self) -> Option<Pid> {
        // `number (name) state parent …`, see proc_pid_stat(5). The name may contain spaces and parentheses.
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.init)).ok()?;
        let (_, fields) = stat.rsplit_once(')')?;
        Pid::from_raw(fields.split_whitespace().nth(1)?.parse().ok()?)
    }
}

/// Waits until a process has exited, for at most a minute.
fn wait_for_exit(process: &OwnedFd) -> Result<()> {
    // A descriptor of a process becomes readable when the process exits.
    let mut descriptors = [PollFd::new(process, PollFlags::IN)];
    let limit = Timespec {
        tv_sec: 60,
        tv_nsec: 0,
    };
    match retry_on_intr(|| poll(&mut descriptors, Some(&limit)))? {
        0 => bail!("still running 60 s after SIGKILL"),
        _ => Ok(()),
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
