//! The cluster's namespaces, seen from outside: made, entered, ended.

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

/// Arguments with which this program, called anew, becomes the cluster's first process, `init::run`.
pub(crate) const INIT_ARGUMENTS: [&str; 2] = ["cluster", "init"];

/// What `up` writes to the first process's standard input when the cluster may outlive it. Until then, its end is the
/// cluster's.
pub(crate) const DETACH: &[u8] = b"detach";

/// A living sandbox, by its first process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sandbox {
    /// The first process, as the machine numbers it.
    pub(crate) init: Pid,
}

/// A sandbox that ends with this process, unless it is detached.
pub(crate) struct Attached {
    pub(crate) sandbox: Sandbox,
    unshare: Child,
    input: ChildStdin,
}

impl Sandbox {
    /// The living one, if there is one. Only a process that holds our lock is taken for it, so that a number that the
    /// machine has given to somebody else since is never mistaken for ours.
    pub(crate) fn find() -> Result<Option<Self>> {
        let Ok(mut lock) = File::open(paths::cluster_lock()) else {
            return Ok(None);
        };
        match lock.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(fs::TryLockError::WouldBlock) => {
                let mut number = String::new();
                lock.read_to_string(&mut number)?;
                let number = number.parse().context("the cluster is only just starting")?;
                Ok(Some(Self {
                    init: Pid::from_raw(number),
                }))
            }
            Err(fs::TryLockError::Error(error)) => Err(error).context("cannot look at the lock"),
        }
    }

    /// Makes the namespaces and waits until their first process is in charge.
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
            // Ctrl-C in the terminal is for the command; the cluster learns of its end by its standard input.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot run unshare")?;
        let input = unshare.stdin.take().context("no pipe to the cluster")?;
        let sandbox = wait::until("the cluster's namespaces", Duration::from_secs(20), || {
            if let Some(status) = unshare.try_wait()? {
                let log = fs::read_to_string(paths::logs().join("init.log")).unwrap_or_default();
                bail!("the first process ended with {status}: {}", log.trim());
            }
            let sandbox = Self::find()?.context("the first process does not hold its lock yet")?;
            progress::run(sandbox.enter("ctr").args(["version"]))
                .context("containerd does not answer yet")?;
            Ok(sandbox)
        })?;
        Ok(Attached {
            sandbox,
            unshare,
            input,
        })
    }

    /// A command inside, in the current folder, with the components and the administrator's kubeconfig at hand.
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

    /// Ends the first process, and with it every other, and waits until they are gone.
    pub(crate) fn end(self) -> Result<()> {
        match kill(self.init, Signal::SIGKILL) {
            // It has ended by itself since it was found.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(error).context("cannot end the cluster"),
        }
        wait::until(
            "the end of the cluster's processes",
            Duration::from_mins(1),
            || match Self::find()? {
                Some(_) => bail!("process {} holds its lock", self.init),
                None => Ok(()),
            },
        )
    }
}

impl Attached {
    /// Lets the sandbox outlive this process.
    pub(crate) fn detach(mut self) -> Result<()> {
        self.input.write_all(DETACH).context("the cluster has ended")?;
        drop(self.input);
        if let Some(status) = self.unshare.try_wait()? {
            bail!("the cluster ended with {status}");
        }
        Ok(())
    }
}
