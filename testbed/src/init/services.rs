//! The service manager of a node: runs containerd, the kubelet, the node manager and the registry, and reaps orphaned processes.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::wait::{WaitStatus, waitpid};

use crate::{components, paths, registry, wait};

/// The kubelet's configuration, which kubeadm writes.
const KUBELET_CONFIGURATION: &str = "/var/lib/kubelet/config.yaml";

/// The kubelet's flags for this node, which kubeadm writes.
const KUBELET_FLAGS: &str = "/var/lib/kubelet/kubeadm-flags.env";

/// The kubelet's credentials for the API server. `kubeadm init` writes them.
const KUBELET_KUBECONFIG: &str = "/etc/kubernetes/kubelet.conf";

/// The credentials with which the kubelet of an added node asks for [`KUBELET_KUBECONFIG`]. `kubeadm join` writes them, and later
/// removes them.
const KUBELET_BOOTSTRAP: &str = "/etc/kubernetes/bootstrap-kubelet.conf";

/// The arguments with which this program runs as the node manager (`manager::run`).
const MANAGER_ARGUMENTS: [&str; 2] = ["cluster", "node-manager"];

/// Raises the limit of open files of this process and its children to the hard limit.
///
/// The soft limit of a shell is often 1,024, enough for 512 forwarded connections. containerd needs more, too: a
/// service manager usually raises its limit.
pub(super) fn raise_open_file_limit() -> Result<()> {
    let (_, hard_limit) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard_limit, hard_limit).context("cannot raise the limit of open files")
}

/// Starts the services: the kubelet as soon as kubeadm has configured it, the registry as soon as a command has. Restarts each when it
/// exits.
pub(super) fn supervise(logs: PathBuf, services: &[Service]) -> Result<()> {
    let manager = Arc::new(Services {
        running: Mutex::default(),
        logs,
    });
    for service in services {
        if service.is_configured() {
            manager.start(*service)?;
        } else {
            let (manager, service) = (Arc::clone(&manager), *service);
            std::thread::spawn(move || manager.start_when_configured(service));
        }
    }
    std::thread::spawn(move || manager.reap());
    Ok(())
}

/// A program that a node keeps running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// The container runtime.
    Containerd,
    /// The kubelet, as kubeadm configures it.
    Kubelet,
    /// The owner of the added nodes, which is in the first node.
    NodeManager,
    /// The registry of the cluster, which is in the first node.
    Registry,
}

impl Service {
    fn command(self) -> Command {
        match self {
            Self::Containerd => {
                let mut command = Command::new("containerd");
                command.args(["--config", "/etc/kubernetes/containerd.toml"]);
                command
            }
            Self::Kubelet => {
                let mut command = Command::new(paths::binaries().join("kubelet"));
                command.args([
                    &format!("--config={KUBELET_CONFIGURATION}"),
                    &format!("--kubeconfig={KUBELET_KUBECONFIG}"),
                    &format!("--bootstrap-kubeconfig={KUBELET_BOOTSTRAP}"),
                ]);
                // KUBELET_KUBEADM_ARGS="--flag=value --flag=value"
                let flags = fs::read_to_string(KUBELET_FLAGS).unwrap_or_default();
                let flags = flags
                    .split_once('=')
                    .map_or("", |(_, value)| value.trim().trim_matches('"'));
                command.args(flags.split_whitespace());
                command
            }
            Self::NodeManager => {
                // This program, even if a new build has replaced its file.
                let mut command = Command::new("/proc/self/exe");
                command.args(MANAGER_ARGUMENTS);
                command
            }
            Self::Registry => {
                let mut command = Command::new(components::REGISTRY.path());
                command.arg("serve").arg(registry::configuration_path());
                command
            }
        }
    }

    fn log(self) -> &'static str {
        match self {
            Self::Containerd => "containerd.log",
            Self::Kubelet => "kubelet.log",
            Self::NodeManager => "node-manager.log",
            Self::Registry => "registry.log",
        }
    }

    /// Whether the files exist that the service needs.
    fn is_configured(self) -> bool {
        let is_written = |path: &str| fs::metadata(path).is_ok_and(|file| file.len() > 0);
        match self {
            Self::Containerd | Self::NodeManager => true,
            // kubeadm itself starts the kubelet only with systemd.
            Self::Kubelet => {
                is_written(KUBELET_CONFIGURATION)
                    && is_written(KUBELET_FLAGS)
                    && (is_written(KUBELET_KUBECONFIG) || is_written(KUBELET_BOOTSTRAP))
            }
            Self::Registry => is_written(&registry::configuration_path()),
        }
    }
}

/// The running services.
struct Services {
    /// By process ID.
    running: Mutex<HashMap<i32, Service>>,
    /// The folder of their logs.
    logs: PathBuf,
}

impl Services {
    fn start(&self, service: Service) -> Result<()> {
        // Hold the lock during the start: `reap` must find a service in the map even if it exits at once.
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.logs.join(service.log()))?;
        let child = service
            .command()
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {service:?}"))?;
        running.insert(child.id().cast_signed(), service);
        Ok(())
    }

    /// Starts a service when its files exist.
    fn start_when_configured(&self, service: Service) {
        while !service.is_configured() {
            wait::pause(Duration::from_millis(100));
        }
        if let Err(error) = self.start(service) {
            eprintln!("{error:#}");
        }
    }

    /// Reaps every child and orphan of the PID namespace, and restarts each service that exits. Never returns.
    fn reap(&self) {
        loop {
            let Ok(WaitStatus::Exited(process, _) | WaitStatus::Signaled(process, _, _)) =
                waitpid(None, None)
            else {
                wait::pause(Duration::from_millis(100));
                continue;
            };
            let service = self
                .running
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&process.as_raw());
            if let Some(service) = service {
                eprintln!("{service:?} exited, restarting it");
                wait::pause(Duration::from_secs(1));
                if let Err(error) = self.start(service) {
                    eprintln!("{error:#}");
                }
            }
        }
    }
}
