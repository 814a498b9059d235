//! The cgroup below which the kubelet keeps its pods, so that another kubelet of this machine is never in the way.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::{paths, preflight, tools};

const MOUNT: &str = "/sys/fs/cgroup";

/// What a pod's limits need. The kubelet refuses a cgroup that lacks one of them which the machine has
/// (kubernetes `pkg/kubelet/cm/cgroup_v2_manager_linux.go`, which leaves out io).
const NEEDED: [&str; 6] = ["cpu", "cpuset", "hugetlb", "io", "memory", "pids"];

/// The name of our cgroup, in every hierarchy: another one for each cluster that this machine can have at a time, so
/// that two checkouts do not remove each other's.
#[must_use]
pub fn name() -> String {
    let cluster = paths::cache();
    let hash = tools::hex(&Sha256::digest(cluster.as_os_str().as_encoded_bytes()));
    format!("testbed-{}", &hash[..8])
}

/// Whether the machine has the unified hierarchy (cgroup v2).
#[must_use]
pub fn is_unified() -> bool {
    Path::new(MOUNT).join("cgroup.controllers").exists()
}

/// The roots of the hierarchies: one on v2, one a controller on v1.
fn roots() -> Vec<PathBuf> {
    if is_unified() {
        return vec![PathBuf::from(MOUNT)];
    }
    let Ok(folders) = fs::read_dir(MOUNT) else {
        return Vec::new();
    };
    folders
        .flatten()
        .map(|folder| folder.path())
        .filter(|path| path.join("cgroup.procs").exists())
        .collect()
}

/// Makes our cgroup in every hierarchy.
///
/// # Errors
/// When a hierarchy cannot be written, and on v2 what to do about it.
pub fn create() -> Result<()> {
    if is_unified() {
        hand_down().with_context(|| {
            format!(
                "cgroup v2 cannot hand its controllers down. In a container its processes usually sit in the root \
                 cgroup, which forbids that, or the cgroups cannot be written: run on the machine itself, or start the \
                 container with a cgroup tree that it may divide (privileged, --cgroupns=host); {}",
                preflight::INSTEAD
            )
        })?;
    }
    for root in roots() {
        fs::create_dir_all(root.join(name()))?;
    }
    Ok(())
}

/// On v2 a child has only the controllers that its parent hands down.
fn hand_down() -> Result<()> {
    let available = fs::read_to_string(Path::new(MOUNT).join("cgroup.controllers"))?;
    let enabled = fs::read_to_string(subtree_control())?;
    let off = switched_off(&available, &enabled);
    // All of them, because runc switches on whatever there is when it starts a container.
    fs::write(record(), off.join(" "))?;
    let wanted = to_switch_on(&available, &enabled);
    if !wanted.is_empty() {
        fs::write(subtree_control(), &wanted)
            .with_context(|| format!("{wanted} > {}", subtree_control().display()))?;
    }
    Ok(())
}

fn subtree_control() -> PathBuf {
    Path::new(MOUNT).join("cgroup.subtree_control")
}

/// The controllers that the machine did not hand down before us.
fn record() -> PathBuf {
    paths::cache().join("cgroup.switched-off")
}

/// Controllers that the root has and does not hand down, from the texts of `cgroup.controllers` and
/// `cgroup.subtree_control`.
fn switched_off<'a>(available: &'a str, enabled: &str) -> Vec<&'a str> {
    available
        .split_whitespace()
        .filter(|controller| !enabled.split_whitespace().any(|other| other == *controller))
        .collect()
}

/// What to write to `cgroup.subtree_control`, from the same two texts: `+cpu +memory`.
fn to_switch_on(available: &str, enabled: &str) -> String {
    let wanted: Vec<_> = switched_off(available, enabled)
        .into_iter()
        .filter(|controller| NEEDED.contains(controller))
        .map(|controller| format!("+{controller}"))
        .collect();
    wanted.join(" ")
}

/// Removes our cgroups, leaves first; the kernel refuses to remove one in which something still runs. On v2 the root
/// then hands down what it did before.
///
/// # Errors
/// When one cannot be removed.
pub fn remove() -> io::Result<()> {
    for root in roots() {
        let ours = root.join(name());
        if ours.exists() {
            remove_tree(&ours)?;
        }
    }
    if let Ok(off) = fs::read_to_string(record()) {
        for controller in off.split_whitespace() {
            // Refused for one that somebody else's cgroup hands down further: it then has to stay on. systemd switches what
            // its units use on again when it next looks at them (`daemon-reload`).
            let _ = fs::write(subtree_control(), format!("-{controller}"));
        }
        fs::remove_file(record())?;
    }
    Ok(())
}

fn remove_tree(cgroup: &Path) -> io::Result<()> {
    for child in fs::read_dir(cgroup)?.flatten() {
        if child.file_type()?.is_dir() {
            remove_tree(&child.path())?;
        }
    }
    fs::remove_dir(cgroup)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_needed_and_there_and_off_is_switched_on() {
        let available = "cpuset cpu io memory hugetlb pids rdma misc\n";
        assert_eq!(
            to_switch_on(available, ""),
            "+cpuset +cpu +io +memory +hugetlb +pids"
        );
        assert_eq!(
            to_switch_on(available, "cpu memory pids\n"),
            "+cpuset +io +hugetlb"
        );
        assert_eq!(to_switch_on("cpu memory\n", "memory cpu\n"), "");
        assert_eq!(
            switched_off(available, "cpu memory pids\n"),
            ["cpuset", "io", "hugetlb", "rdma", "misc"]
        );
    }
}
