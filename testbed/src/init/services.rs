//! The service manager of the cluster: runs containerd and the kubelet, and reaps orphaned processes.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::wait::{WaitStatus, waitpid};

use crate::{paths, wait};

/// The kubelet's configuration, which kubeadm writes.
const KUBELET_CONFIGURATION: &str = "/var/lib/kubelet/config.yaml";

/// The kubelet's credentials for the API server, which kubeadm writes.
const KUBELET_KUBECONFIG: &str = "/etc/kubernetes/kubelet.conf";

/// Raises the limit of open files of this process and its children to the hard limit.
///
/// The soft limit of a shell is often 1,024, enough for 512 forwarded connections. containerd needs more, too: a
/// service manager usually raises its limit.
pub(super) fn raise_open_file_limit() -> Result<()> {
    let (_, hard_limit) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard_limit, hard_limit).context("cannot raise the limit of open files")
}

/// Starts containerd, and the kubelet as soon as kubeadm has configured it. Restarts both when they exit.
pub(super) fn supervise() -> Result<()> {
    let services = Arc::new(Services::default());
    services.start(Service::Containerd)?;
    std::thread::spawn({
        let services = Arc::clone(&services);
        move || services.start_configured_kubelet()
    });
    std::thread::spawn(move || services.reap());
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Containerd,
    Kubelet,
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
                ]);
                // kubeadm writes the flags for this machine: KUBELET_KUBEADM_ARGS="--flag=value --flag=value"
                let flags = fs::read_to_string("/var/lib/kubelet/kubeadm-flags.env").unwrap_or_default();
                let flags = flags
                    .split_once('=')
                    .map_or("", |(_, value)| value.trim().trim_matches('"'));
                command.args(flags.split_whitespace());
                command
            }
        }
    }

    fn log(self) -> PathBuf {
        paths::logs().join(match self {
            Self::Containerd => "containerd.log",
            Self::Kubelet => "kubelet.log",
        })
    }
}

/// The running services by process ID.
#[derive(Default)]
struct Services(Mutex<HashMap<i32, Service>>);

impl Services {
    fn start(&self, service: Service) -> Result<()> {
        // Hold the lock during the start: `reap` must find a service in the map even if it exits at once.
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let log = File::options().create(true).append(true).open(service.log())?;
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

    /// Starts the kubelet when kubeadm has written its files. kubeadm itself starts the kubelet only with systemd.
    fn start_configured_kubelet(&self) {
        while !Path::new(KUBELET_CONFIGURATION).exists() || !Path::new(KUBELET_KUBECONFIG).exists() {
            wait::pause(Duration::from_millis(100));
        }
        if let Err(error) = self.start(Service::Kubelet) {
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
                .0
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
