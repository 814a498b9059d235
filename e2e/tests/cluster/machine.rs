//! The state of the machine, which a cluster must not change.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::processes::Process;

/// The state of the machine that a cluster could change but must not change.
pub(crate) fn machine_state() -> Result<String> {
    let mut state = String::new();
    for file in [
        "/proc/self/mountinfo",
        "/proc/sys/vm/overcommit_memory",
        "/proc/sys/vm/panic_on_oom",
        "/proc/sys/kernel/panic",
        "/proc/sys/kernel/panic_on_oops",
        "/proc/sys/kernel/hostname",
        "/proc/sys/net/ipv4/ip_forward",
        "/etc/hosts",
        "/etc/resolv.conf",
        "/sys/fs/cgroup/cgroup.subtree_control",
    ] {
        state.extend([file, ":\n", &fs::read_to_string(file).unwrap_or_default(), "\n"]);
    }
    for folder in [
        "/etc",
        "/etc/cni",
        "/var/lib",
        "/var/log",
        "/run",
        "/run/netns",
        "/usr/lib",
        "/sys/class/net",
        "/sys/fs/cgroup",
    ] {
        let mut names: Vec<_> = fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        state.extend([folder, ": ", &names.join(" "), "\n"]);
    }
    // cgroup v1 has one tree for each controller. The cgroups of a cluster are below it.
    let below = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.path())
            .filter(|path| path.is_dir())
            .collect()
    };
    let mut cgroups: Vec<_> = below(Path::new("/sys/fs/cgroup"))
        .iter()
        .flat_map(|folder| below(folder))
        .filter(|path| {
            ["testbed", "kubepods", "kubelet"]
                .iter()
                .any(|name| path.to_string_lossy().contains(name))
        })
        .collect();
    cgroups.sort();
    Ok(format!(
        "{state}cgroups: {cgroups:?}\nprocesses: {:?}\n",
        cluster_like_processes()?
    ))
}

/// IDs and names of all processes of the machine that could belong to a cluster. Only for comparison, because they may be
/// unrelated to the testbed.
fn cluster_like_processes() -> Result<Vec<(i32, String)>> {
    const NAMES: [&str; 9] = [
        "containerd",
        "containerd-shim",
        "kubelet",
        "kubeadm",
        "etcd",
        "kube-apiserver",
        "kube-controller",
        "kube-scheduler",
        "unshare",
    ];
    Ok(Process::all()?
        .into_iter()
        .filter(|process| NAMES.iter().any(|name| process.name.starts_with(name)))
        .map(|process| (process.id, process.name))
        .collect())
}
