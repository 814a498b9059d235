//! The processes of the cluster. They are found by its PID namespace, because another containerd or kubelet may be running on
//! the machine.

use std::collections::HashMap;
use std::fs::{self, File};
use std::iter;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testbed::paths;

/// A living process of the machine.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) id: i32,
    pub(crate) name: String,
    parent: i32,
}

impl Process {
    /// The process with this ID. `None` if it has exited, even if it is not reaped yet.
    fn find(id: i32) -> Option<Self> {
        // `id (name) state parent …` (proc_pid_stat(5)). The name may contain spaces and parentheses.
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
        let mut fields = rest.split_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        (!matches!(state, "Z" | "X")).then(|| Self {
            id,
            name: name.to_owned(),
            parent,
        })
    }

    /// Every living process of the machine.
    pub(crate) fn all() -> Result<Vec<Self>> {
        let ids = fs::read_dir("/proc")?
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Ok(ids.filter_map(Self::find).collect())
    }

    /// The arguments, separated by spaces.
    pub(crate) fn arguments(&self) -> String {
        let arguments = fs::read(format!("/proc/{}/cmdline", self.id)).unwrap_or_default();
        String::from_utf8_lossy(&arguments).replace('\0', " ")
    }

    /// Fails as long as one of `processes` is alive.
    pub(crate) fn all_gone(processes: &[Self]) -> Result<()> {
        let left: Vec<_> = processes
            .iter()
            .filter(|process| Self::find(process.id).is_some_and(|found| found.name == process.name))
            .collect();
        ensure!(left.is_empty(), "still alive: {left:?}");
        Ok(())
    }

    pub(crate) fn kill(&self) -> Result<()> {
        kill(Pid::from_raw(self.id), Signal::SIGKILL).with_context(|| format!("kill {self:?}"))
    }
}

/// The PID namespace of a cluster. It identifies the processes even after the first one has exited.
#[derive(Debug)]
pub(crate) struct Namespace {
    /// The target of the link `/proc/PID/ns/pid` of each process.
    link: PathBuf,
    /// The ID of the first process, in the machine's namespace.
    pub(crate) first: i32,
}

impl Namespace {
    /// The namespace of the cluster that is up or starting.
    pub(crate) fn of_the_cluster() -> Result<Self> {
        let id = fs::read_to_string(paths::cluster_lock()).context("no cluster has been started")?;
        Self::of_process(id.trim().parse().context("no cluster is up")?)
    }

    /// The namespace of which this is the first process.
    pub(crate) fn of_process(first: i32) -> Result<Self> {
        let link = link(first).with_context(|| format!("the first process, {first}, has exited"))?;
        ensure!(
            link != self::link("self")?,
            "process {first} is in the namespace of this test"
        );
        Ok(Self { link, first })
    }

    /// The file of the network namespace, for `nsenter --net`.
    pub(crate) fn network(&self) -> String {
        format!("/proc/{}/ns/net", self.first)
    }

    /// The living processes.
    pub(crate) fn processes(&self) -> Result<Vec<Process>> {
        let mut all = Process::all()?;
        all.retain(|process| link(process.id).is_ok_and(|link| link == self.link));
        Ok(all)
    }

    /// The living processes of the cluster and of its added nodes, which have PID namespaces of their own.
    pub(crate) fn with_nodes(&self) -> Result<Vec<Process>> {
        let all = Process::all()?;
        let parents: HashMap<_, _> = all.iter().map(|process| (process.id, process.parent)).collect();
        let is_below = |id: i32| {
            // The kernel gives an orphan to the first process of its namespace, so the chain of parents stays in the cluster.
            iter::successors(Some(id), |id| parents.get(id).copied()).any(|id| id == self.first)
        };
        Ok(all.into_iter().filter(|process| is_below(process.id)).collect())
    }

    /// Sends SIGKILL to every process with this name.
    pub(crate) fn kill_all(&self, name: &str) -> Result<()> {
        let mut victims = self.processes()?;
        victims.retain(|process| process.name == name);
        ensure!(!victims.is_empty(), "no {name} is running");
        victims.iter().try_for_each(Process::kill)
    }

    /// Sends SIGKILL to the parent of the first process: `unshare`, which created the namespace.
    pub(crate) fn kill_unshare(&self) -> Result<()> {
        let first = Process::find(self.first).context("the first process has exited")?;
        let parent = Process::find(first.parent).context("the first process has no parent")?;
        ensure!(
            parent.name == "unshare",
            "the parent of the first process is {parent:?}"
        );
        parent.kill()
    }

    /// Fails as long as a process is alive.
    pub(crate) fn is_empty(&self) -> Result<()> {
        let left = self.processes()?;
        ensure!(left.is_empty(), "still alive: {left:?}");
        Ok(())
    }
}

/// The network namespace of the pod with this UID, on any node. The cgroup of each process of the pod contains the UID.
pub(crate) fn network_of_pod(uid: &str) -> Result<File> {
    let process = Process::all()?.into_iter().find(|process| {
        fs::read_to_string(format!("/proc/{}/cgroup", process.id)).is_ok_and(|cgroup| cgroup.contains(uid))
    });
    let process = process.with_context(|| format!("no process of pod {uid}"))?;
    Ok(File::open(format!("/proc/{}/ns/net", process.id))?)
}

fn link(process: impl std::fmt::Display) -> Result<PathBuf> {
    let path = format!("/proc/{process}/ns/pid");
    fs::read_link(Path::new(&path)).context(path)
}
