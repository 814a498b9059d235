//! The cluster's processes, as the machine sees them: those of its process namespace, and of no other. Another
//! containerd or kubelet of the machine is somebody else's.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testbed::paths;

/// A living process of the machine.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) number: i32,
    pub(crate) name: String,
    parent: i32,
}

impl Process {
    /// The process of this number; none when it has ended, reaped or not (a machine's first process may reap nobody).
    fn find(number: i32) -> Option<Self> {
        // `number (name) state parent …`, where the name may have spaces and parentheses itself (proc_pid_stat(5)).
        let stat = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
        let mut fields = rest.split_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        (!matches!(state, "Z" | "X")).then(|| Self {
            number,
            name: name.to_owned(),
            parent,
        })
    }

    /// Every living process of the machine.
    pub(crate) fn all() -> Result<Vec<Self>> {
        let numbers = fs::read_dir("/proc")?
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Ok(numbers.filter_map(Self::find).collect())
    }

    fn kill(&self) -> Result<()> {
        kill(Pid::from_raw(self.number), Signal::SIGKILL).with_context(|| format!("kill {self:?}"))
    }
}

/// The process namespace of a cluster, which names its processes even when its first one has ended.
#[derive(Debug)]
pub(crate) struct Namespace {
    /// What `/proc/PID/ns/pid` of its processes links to.
    link: PathBuf,
    /// Its first process, as the machine numbers it.
    first: i32,
}

impl Namespace {
    /// That of the cluster that is up, or on its way.
    pub(crate) fn of_the_cluster() -> Result<Self> {
        let number = fs::read_to_string(paths::lock()).context("no cluster has been made")?;
        let first = number.trim().parse().context("no cluster is up")?;
        let link = link(first).with_context(|| format!("the first process, {first}, has ended"))?;
        ensure!(
            link != self::link("self")?,
            "process {first} is of our own namespace"
        );
        Ok(Self { link, first })
    }

    /// The file of its network namespace, for `nsenter --net`.
    pub(crate) fn network(&self) -> String {
        format!("/proc/{}/ns/net", self.first)
    }

    /// Its living processes.
    pub(crate) fn processes(&self) -> Result<Vec<Process>> {
        let mut all = Process::all()?;
        all.retain(|process| link(process.number).is_ok_and(|link| link == self.link));
        Ok(all)
    }

    /// Ends its processes of this name as `kill -9` does.
    pub(crate) fn kill_all(&self, name: &str) -> Result<()> {
        let mut victims = self.processes()?;
        victims.retain(|process| process.name == name);
        ensure!(!victims.is_empty(), "no {name} runs");
        victims.iter().try_for_each(Process::kill)
    }

    /// Ends the process that made it and waits for its first one, as `kill -9` does.
    pub(crate) fn kill_the_maker(&self) -> Result<()> {
        let first = Process::find(self.first).context("the first process has ended")?;
        let maker = Process::find(first.parent).context("nobody waits for the first process")?;
        ensure!(maker.name == "unshare", "{maker:?} waits for the first process");
        maker.kill()
    }

    /// Whether nothing of it lives any more.
    pub(crate) fn is_empty(&self) -> Result<()> {
        let left = self.processes()?;
        ensure!(left.is_empty(), "still there: {left:?}");
        Ok(())
    }
}

fn link(process: impl std::fmt::Display) -> Result<PathBuf> {
    let path = format!("/proc/{process}/ns/pid");
    fs::read_link(Path::new(&path)).context(path)
}
