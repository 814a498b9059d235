//! The mounts of a node. They keep its processes from writing to the machine's folders and kernel settings.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::paths;

const NONE: Option<&str> = None;

/// Folders that the cluster's processes write to. Each becomes a bind mount of a folder below [`paths::state`].
const WRITTEN_FOLDERS: [&str; 8] = [
    "/etc/kubernetes",
    "/etc/cni/net.d",
    "/var/lib/kubelet",
    "/var/lib/containerd",
    "/var/lib/etcd",
    "/var/lib/cni",
    "/var/log/pods",
    "/var/log/containers",
];

/// Kernel settings, with the values that the kubelet requires. They exist once per machine, not per namespace.
/// Therefore the kubelet reads these values from files that are mounted over the settings, and the machine keeps its
/// own values.
const KERNEL_SETTINGS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// Mounts everything that the first node needs in the mount namespace of this process.
pub(super) fn mount_all() -> Result<()> {
    set_propagation(MsFlags::MS_PRIVATE)?;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), NONE).context("/proc")?;
    let state = paths::state();
    fs::create_dir_all(&state)?;
    // Open the sources before the overlays are mounted: an overlay may hide the paths.
    let written = open_written_folders(&state)?;
    let cache = File::open(paths::cache())?;
    mount_overlays(&state)?;
    mount_written_folders(written, &cache)
}

/// As [`mount_all`], for an added node, which starts with a copy of the mounts of the first node. `state` is its folder of the state.
pub(super) fn mount_node(state: &Path) -> Result<()> {
    set_propagation(MsFlags::MS_PRIVATE)?;
    detach_copies()?;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), NONE).context("/proc")?;
    let written = open_written_folders(state)?;
    let cache = File::open(paths::cache())?;
    mount_written_folders(written, &cache)?;
    bind(Path::new("/etc/kubernetes/hosts"), Path::new("/etc/hosts"))
}

/// Detaches the copies of the mounts that belong to the pods and the state of the first node. They would keep its volumes in use.
fn detach_copies() -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    // Later mounts first: they may be on top of, or below, earlier ones.
    for point in mounts
        .lines()
        .rev()
        .filter_map(|line| line.split(' ').nth(4).map(Path::new))
    {
        let is_of_first_node = WRITTEN_FOLDERS.iter().any(|folder| point.starts_with(folder))
            || (point.starts_with("/run") && point != Path::new("/run"));
        if is_of_first_node && point != paths::cache() {
            match umount2(point, MntFlags::MNT_DETACH) {
                // A mount of the machine that the /run of the first node hides.
                Ok(()) | Err(Errno::ENOENT | Errno::EINVAL) => {}
                Err(error) => return Err(error).with_context(|| point.display().to_string()),
            }
        }
    }
    Ok(())
}

/// Mounts `written`, an own /run and the kernel settings. Keeps the path of `cache`.
fn mount_written_folders(written: Vec<(&'static str, File)>, cache: &File) -> Result<()> {
    for (folder, source) in written {
        fs::create_dir_all(folder)?;
        bind(&descriptor_path(&source), Path::new(folder))?;
    }
    if !same_file(&paths::cache(), cache)? {
        bind(&descriptor_path(cache), &paths::cache())?;
    }
    mount(
        Some("tmpfs"),
        "/run",
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=755"),
    )
    .context("/run")?;
    fs::create_dir_all("/run/netns")?;
    mount_kernel_settings()?;
    // Shared: the mounts that the kubelet makes must propagate to the pods.
    set_propagation(MsFlags::MS_SHARED)
}

fn set_propagation(propagation: MsFlags) -> Result<()> {
    Ok(mount(NONE, "/", NONE, MsFlags::MS_REC | propagation, NONE)?)
}

/// Creates and opens the folder below `state` that replaces each of [`WRITTEN_FOLDERS`].
fn open_written_folders(state: &Path) -> Result<Vec<(&'static str, File)>> {
    let mut opened = Vec::new();
    for folder in WRITTEN_FOLDERS {
        let source = paths::replacement(state, folder);
        fs::create_dir_all(&source)?;
        opened.push((folder, File::open(&source)?));
    }
    Ok(opened)
}

/// Mounts overlays, so that mount points can be created without a change of the machine's folders.
fn mount_overlays(state: &Path) -> Result<()> {
    for folder in ["etc", "var", "usr/lib"] {
        let (upper, work) = (format!("{folder}-upper"), format!("{folder}-work"));
        let (upper, work) = (
            state.join(upper.replace('/', "-")),
            state.join(work.replace('/', "-")),
        );
        fs::create_dir_all(&upper)?;
        fs::create_dir_all(&work)?;
        let options = format!(
            "lowerdir=/{folder},upperdir={},workdir={}",
            upper.display(),
            work.display()
        );
        let point = format!("/{folder}");
        mount(
            Some("overlay"),
            point.as_str(),
            Some("overlay"),
            MsFlags::empty(),
            Some(options.as_str()),
        )
        .with_context(|| format!("overlay over {point}"))?;
    }
    Ok(())
}

fn mount_kernel_settings() -> Result<()> {
    let folder = PathBuf::from("/run/kernel-settings");
    for (name, value) in KERNEL_SETTINGS {
        let file = folder.join(name);
        fs::create_dir_all(file.parent().unwrap_or(&folder))?;
        fs::write(&file, format!("{value}\n"))?;
        bind(&file, &Path::new("/proc/sys").join(name))?;
    }
    Ok(())
}

fn descriptor_path(file: &File) -> PathBuf {
    use std::os::fd::AsRawFd as _;
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn same_file(path: &Path, open: &File) -> Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let (left, right) = (fs::metadata(path)?, open.metadata()?);
    Ok((left.dev(), left.ino()) == (right.dev(), right.ino()))
}

fn bind(source: &Path, target: &Path) -> Result<()> {
    mount(Some(source), target, NONE, MsFlags::MS_BIND, NONE)
        .with_context(|| format!("bind mount over {}", target.display()))
}
