//! The cgroup below which the kubelet keeps its pods, so that another kubelet of this machine is never in the way.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const MOUNT: &str = "/sys/fs/cgroup";

/// The name of our cgroup, in every hierarchy.
pub const NAME: &str = "testbed";

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
/// When a hierarchy cannot be written.
pub fn create() -> io::Result<()> {
    if is_unified() {
        // On v2 a child has only the controllers that its parent hands down; one that is missing is the kubelet's to name.
        let available = fs::read_to_string(Path::new(MOUNT).join("cgroup.controllers"))?;
        for controller in available.split_whitespace() {
            let _ = fs::write(
                Path::new(MOUNT).join("cgroup.subtree_control"),
                format!("+{controller}"),
            );
        }
    }
    for root in roots() {
        fs::create_dir_all(root.join(NAME))?;
    }
    Ok(())
}

/// Removes our cgroups, leaves first; the kernel refuses to remove one in which something still runs.
///
/// # Errors
/// When one cannot be removed.
pub fn remove() -> io::Result<()> {
    for root in roots() {
        let ours = root.join(NAME);
        if ours.exists() {
            remove_tree(&ours)?;
        }
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
