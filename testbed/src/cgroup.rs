//! The cgroup of the cluster. The kubelet creates the cgroups of its pods below it, so that they are separate from those of
//! another kubelet on the machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::{components, paths, preflight};

const MOUNT: &str = "/sys/fs/cgroup";

/// The file of a cgroup (v2) with the controllers that its children have.
const SUBTREE_CONTROL: &str = "cgroup.subtree_control";

/// The controllers that the limits of pods need. If the machine has one of them and the cgroup does not, the kubelet
/// rejects the cgroup (kubernetes `pkg/kubelet/cm/cgroup_v2_manager_linux.go`, whose list does not contain `io`).
const NEEDED: [&str; 6] = ["cpu", "cpuset", "hugetlb", "io", "memory", "pids"];

/// The file with the weight of a cgroup's CPU time, and ten times its default: of cgroup v1, and of v2.
///
/// containerd and the kubelet run outside of this cgroup, with the default weight. The start of many pods keeps them busy. With equal
/// weights, 150 of 9,000 requests failed meanwhile on a busy machine.
const CPU_WEIGHT: [(&str, &str); 2] = [("cpu.shares", "10240"), ("cpu.weight", "1000")];

/// The name of the cluster's cgroup, in every hierarchy.
///
/// It contains a hash of the path of [`paths::cache`], so that two checkouts do not remove each other's cgroups.
#[must_use]
pub fn name() -> String {
    let cluster = paths::cache();
    let hash = components::hex(&Sha256::digest(cluster.as_os_str().as_encoded_bytes()));
    format!("testbed-{}", &hash[..8])
}

/// Whether the machine uses the unified hierarchy (cgroup v2).
#[must_use]
pub fn is_unified() -> bool {
    Path::new(MOUNT).join("cgroup.controllers").exists()
}

/// The roots of the hierarchies: one in total on cgroup v2, one per controller on v1.
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

/// Creates the cgroup of the cluster in every hierarchy.
///
/// # Errors
/// When a hierarchy cannot be written. On cgroup v2 the message says what to do.
pub fn create() -> Result<()> {
    if is_unified() {
        enable_controllers().with_context(|| {
            format!(
                "cannot enable the controllers of cgroup v2 for child cgroups. In a container this usually fails \
                 because processes run in the root cgroup, or because the cgroups are read-only: run on the machine \
                 itself, or start the container with a writable cgroup tree (privileged, --cgroupns=host); {}",
                preflight::ALTERNATIVE
            )
        })?;
    }
    for root in roots() {
        let cgroup = root.join(name());
        fs::create_dir_all(&cgroup)?;
        for (file, weight) in CPU_WEIGHT {
            let file = cgroup.join(file);
            if file.exists() {
                fs::write(&file, weight).with_context(|| file.display().to_string())?;
            }
        }
    }
    Ok(())
}

/// The name of the cgroup of the added node `node`, relative to the root of each hierarchy. Its kubelet creates the cgroups of
/// its pods below it. A kubelet removes the pods that it does not know below its own cgroup.
#[must_use]
pub fn node_name(node: &str) -> String {
    format!("{}/{NODE_PREFIX}{node}", name())
}

/// The start of the names of the cgroups of added nodes. The kubelet of the first node uses other names in the same cgroup.
const NODE_PREFIX: &str = "node-";

/// Creates the cgroup of the added node `node` in every hierarchy.
///
/// # Errors
/// When a hierarchy cannot be written.
pub fn create_node(node: &str) -> Result<()> {
    for root in roots() {
        let cluster = root.join(name());
        if is_unified() {
            let available = fs::read_to_string(cluster.join("cgroup.controllers"))?;
            let enabled = fs::read_to_string(cluster.join(SUBTREE_CONTROL))?;
            fs::write(cluster.join(SUBTREE_CONTROL), changes(&available, &enabled))?;
        }
        let cgroup = root.join(node_name(node));
        fs::create_dir_all(&cgroup)?;
        for file in ["cpuset.cpus", "cpuset.mems"] {
            // On v1 a new cgroup has no CPUs and no memory nodes, and no process can enter it.
            if !is_unified() && cgroup.join(file).exists() {
                let all = fs::read_to_string(root.join(file))?;
                for cgroup in [&cluster, &cgroup] {
                    if fs::read_to_string(cgroup.join(file))?.trim().is_empty() {
                        fs::write(cgroup.join(file), all.trim())?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// Removes the cgroup of the added node `node`.
///
/// # Errors
/// When a cgroup cannot be removed. The kernel does not remove a cgroup with a running process.
pub fn remove_node(node: &str) -> io::Result<()> {
    for root in roots() {
        let cgroup = root.join(node_name(node));
        if cgroup.exists() {
            remove_tree(&cgroup)?;
        }
    }
    Ok(())
}

/// Removes the cgroups of all added nodes.
///
/// # Errors
/// As [`remove_node`].
pub fn remove_nodes() -> io::Result<()> {
    for root in roots() {
        for child in fs::read_dir(root.join(name()))?.flatten() {
            if child.file_name().to_string_lossy().starts_with(NODE_PREFIX) {
                remove_tree(&child.path())?;
            }
        }
    }
    Ok(())
}

/// Enables the needed controllers for the children of the root cgroup, and records which were disabled before.
///
/// On cgroup v2 a child has only the controllers that its parent enables in `cgroup.subtree_control`.
fn enable_controllers() -> Result<()> {
    let available = fs::read_to_string(Path::new(MOUNT).join("cgroup.controllers"))?;
    let enabled = fs::read_to_string(subtree_control())?;
    let disabled = disabled(&available, &enabled);
    // Record all of them, not only the needed ones: runc enables every available controller when it starts a
    // container.
    fs::write(record(), disabled.join(" "))?;
    let changes = changes(&available, &enabled);
    if !changes.is_empty() {
        fs::write(subtree_control(), &changes)
            .with_context(|| format!("{changes} > {}", subtree_control().display()))?;
    }
    Ok(())
}

fn subtree_control() -> PathBuf {
    Path::new(MOUNT).join(SUBTREE_CONTROL)
}

/// The file with the controllers that were disabled before the cluster started.
fn record() -> PathBuf {
    paths::cache().join("cgroup.switched-off")
}

/// The controllers that the root has and that are disabled for its children.
///
/// `available` is the text of `cgroup.controllers`, `enabled` that of `cgroup.subtree_control`.
fn disabled<'a>(available: &'a str, enabled: &str) -> Vec<&'a str> {
    available
        .split_whitespace()
        .filter(|controller| !enabled.split_whitespace().any(|other| other == *controller))
        .collect()
}

/// The text for `cgroup.subtree_control` that enables the needed controllers: `+cpu +memory`.
///
/// The arguments are those of [`disabled`].
fn changes(available: &str, enabled: &str) -> String {
    let changes: Vec<_> = disabled(available, enabled)
        .into_iter()
        .filter(|controller| NEEDED.contains(controller))
        .map(|controller| format!("+{controller}"))
        .collect();
    changes.join(" ")
}

/// Removes the cgroups of the cluster. On cgroup v2, also disables the controllers that were disabled before.
///
/// # Errors
/// When a cgroup cannot be removed. The kernel does not remove a cgroup with a running process.
pub fn remove() -> io::Result<()> {
    for root in roots() {
        let cgroup = root.join(name());
        if cgroup.exists() {
            remove_tree(&cgroup)?;
        }
    }
    if let Ok(disabled) = fs::read_to_string(record()) {
        for controller in disabled.split_whitespace() {
            // The kernel rejects this if another cgroup enables the controller for its own children. The controller
            // then stays enabled. systemd enables the controllers of its units again at its next `daemon-reload`.
            let _ = fs::write(subtree_control(), format!("-{controller}"));
        }
        fs::remove_file(record())?;
    }
    Ok(())
}

/// Removes a cgroup and its children. A cgroup with children cannot be removed.
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
    fn only_needed_available_and_disabled_controllers_are_enabled() {
        let available = "cpuset cpu io memory hugetlb pids rdma misc\n";
        assert_eq!(changes(available, ""), "+cpuset +cpu +io +memory +hugetlb +pids");
        assert_eq!(changes(available, "cpu memory pids\n"), "+cpuset +io +hugetlb");
        assert_eq!(changes("cpu memory\n", "memory cpu\n"), "");
        assert_eq!(
            disabled(available, "cpu memory pids\n"),
            ["cpuset", "io", "hugetlb", "rdma", "misc"]
        );
    }
}
