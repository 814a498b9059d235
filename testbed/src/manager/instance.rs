//! One added node: its namespaces, its network, how it joins the cluster, and what is removed when it has stopped.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use nix::sched::{CloneFlags, unshare};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::ip::ip;
use crate::nodes::{InstanceType, NewNode};
use crate::sandbox::Sandbox;
use crate::{cgroup, components, kubeadm, paths, progress, registry, wait};

/// The arguments with which this program runs as the first process of a node (`init::run_node`). The name and the number of the
/// node follow.
const INIT_ARGUMENTS: [&str; 2] = ["cluster", "init-node"];

/// The deadline of commands that take less than a second on an idle machine.
const SHORT: Duration = Duration::from_secs(30);

/// The deadline of `kubeadm join`, which takes a few seconds on an idle machine. kubeadm itself gives up after 5 minutes.
const JOIN: Duration = Duration::from_mins(6);

/// How long the removal of what a node leaves may take.
const REMOVAL: Duration = Duration::from_secs(30);

/// A node whose first process runs.
pub(super) struct Instance {
    request: NewNode,
    size: InstanceType,
    number: u8,
    first: Child,
    /// The node stops when this pipe closes: with this value, and so with the node manager.
    lifeline: ChildStdin,
}

impl Instance {
    /// Writes the configuration of a node, and starts its first process in new namespaces. Also returns a pidfd of the process.
    ///
    /// After an error no process of the node runs, and the caller must call [`remove_files`].
    pub(super) fn launch(request: &NewNode, size: InstanceType, number: u8) -> Result<(Self, OwnedFd)> {
        let mut first = start(&request.name, number)?;
        let lifeline = first.stdin.take().context("no pipe to the first process");
        let process = pidfd_open(Pid::from_child(&first), PidfdFlags::empty()).context("pidfd_open");
        let opened = lifeline.and_then(|lifeline| Ok((lifeline, process?)));
        let (lifeline, process) = opened.inspect_err(|_| {
            // The launch has the more important error.
            let _ = first.kill().and_then(|()| first.wait());
        })?;
        let instance = Self {
            request: request.clone(),
            size,
            number,
            first,
            lifeline,
        };
        Ok((instance, process))
    }

    pub(super) fn name(&self) -> &str {
        &self.request.name
    }

    pub(super) fn process(&self) -> i32 {
        self.first.id().cast_signed()
    }

    pub(super) fn address(&self) -> String {
        kubeadm::node_address(self.number)
    }

    /// Connects the node to the bridge, and lets its first process go on.
    pub(super) fn connect(&mut self) -> Result<()> {
        let (link, process) = (link(self.number), self.first.id());
        ip(&format!(
            "link add {link} type veth peer name {} netns {process}",
            kubeadm::NODE_LINK
        ))?;
        ip(&format!("link set {link} master {} up", kubeadm::BRIDGE))?;
        self.lifeline
            .write_all(b"\n")
            .context("the first process has exited")
    }

    /// Connects the node, and joins it to the cluster.
    pub(super) fn join(&mut self) -> Result<()> {
        self.connect()?;
        let mut token = Command::new(components::KUBEADM.path());
        token
            .args(["token", "create", "--ttl=15m"])
            .env("KUBECONFIG", "/etc/kubernetes/admin.conf");
        let token = progress::run_within(SHORT, &mut token)?;
        let configuration = kubeadm::join(&self.request, self.size, self.number, token.trim())?;
        let folder = paths::replacement(&paths::node_state(self.name()), "/etc/kubernetes");
        fs::create_dir_all(folder.join("pki"))?;
        fs::copy(kubeadm::AUTHORITY, folder.join("pki/ca.crt")).context("the cluster is not initialised")?;
        // The file contains the token.
        File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(folder.join("join.json"))?
            .write_all(configuration.as_bytes())?;
        let mut join = Sandbox {
            init: Pid::from_child(&self.first),
        }
        .enter("kubeadm");
        // Preflight expects systemd, and no swap.
        join.args([
            "join",
            "--config=/etc/kubernetes/join.json",
            "--skip-phases=preflight",
        ]);
        progress::run_to_log(&mut join, &self.log("kubeadm"), JOIN)
    }

    fn log(&self, name: &str) -> PathBuf {
        paths::node_logs(self.name()).join(format!("{name}.log"))
    }

    /// Waits until the node stops, for whatever reason, and removes what it leaves.
    pub(super) fn wait(&mut self) -> Result<()> {
        // The kernel has killed all processes of the node when it reports the exit of the first one.
        self.first.wait()?;
        // The kernel removes both ends when it removes the namespace of the other end, some time later.
        let _ = ip(&format!("link delete {}", link(self.number)));
        remove_files(self.name())
    }
}

/// The end of a node's link on the bridge of the first node.
pub(super) fn link(number: u8) -> String {
    format!("node{number}")
}

/// Removes the cgroup and the files of a node without processes. Tries for up to [`REMOVAL`].
pub(super) fn remove_files(name: &str) -> Result<()> {
    wait::until(
        "the cgroup and the files of the node are removed",
        REMOVAL,
        || try_remove_files(name),
    )
}

fn try_remove_files(name: &str) -> Result<()> {
    cgroup::remove_node(name).context("cgroup")?;
    paths::remove_folder(&paths::node_state(name))
}

/// Writes the files that replace those of the first node.
fn write_configuration(name: &str, number: u8) -> Result<()> {
    let state = paths::node_state(name);
    let address = kubeadm::node_address(number);
    for (folder, file, content) in [
        ("/etc/cni/net.d", "10-pods.conflist", kubeadm::pod_network(number)),
        ("/etc/kubernetes", "containerd.toml", kubeadm::containerd()),
        (
            "/etc/kubernetes",
            // The registry of the node manager has the images of the first node.
            "registry/_default/hosts.toml",
            kubeadm::registry_mirror(kubeadm::REGISTRY_PORT),
        ),
        (
            "/etc/kubernetes",
            &format!("registry/{}/hosts.toml", registry::name()),
            kubeadm::registry_mirror(registry::PORT),
        ),
        ("/etc/kubernetes", kubeadm::DISCOVERY, kubeadm::discovery()),
        (
            "/etc/kubernetes",
            "hosts",
            format!("127.0.0.1 localhost\n{address} {name}\n"),
        ),
    ] {
        let path = paths::replacement(&state, folder).join(file);
        fs::create_dir_all(path.parent().unwrap_or(&state))?;
        fs::write(path, content)?;
    }
    fs::create_dir_all(paths::node_logs(name))?;
    Ok(())
}

/// Starts the first process of a node as process 1 of new namespaces.
fn start(name: &str, number: u8) -> Result<Child> {
    // Of an earlier node, if its removal failed.
    try_remove_files(name).context("cannot remove the files of an earlier node of this name")?;
    write_configuration(name, number)?;
    cgroup::create_node(name).context("cannot create the cgroup of the node")?;
    let log = File::create(paths::node_logs(name).join("init.log"))?;
    // Only the thread that creates the namespaces, and its children, are in them.
    let starter = std::thread::spawn({
        let name = name.to_owned();
        move || {
            unshare(
                CloneFlags::CLONE_NEWNS
                    | CloneFlags::CLONE_NEWPID
                    | CloneFlags::CLONE_NEWNET
                    | CloneFlags::CLONE_NEWIPC
                    | CloneFlags::CLONE_NEWUTS,
            )
            .context("cannot create the namespaces of the node")?;
            // This program, even if a new build has replaced its file.
            Command::new("/proc/self/exe")
                .args(INIT_ARGUMENTS)
                .args([name, number.to_string()])
                .stdin(Stdio::piped())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()
                .context("cannot start the first process of the node")
        }
    });
    starter
        .join()
        .map_err(|_| anyhow!("the start of the node panicked"))?
}
