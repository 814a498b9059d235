//! The lock that identifies the cluster, and the processes that the cluster must not outlive.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::paths;
use crate::sandbox::DETACH;

/// Takes the lock of the cluster and writes the process ID of this process into the lock file.
///
/// The cluster is alive as long as the caller keeps the returned file open.
pub(super) fn take_lock() -> Result<File> {
    // /proc is still that of the machine, so this is the process ID outside the namespaces. `cluster down` needs it.
    let process_id = fs::read_link("/proc/self").context("/proc is not mounted")?;
    let mut lock = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(paths::cluster_lock())?;
    lock.lock()
        .context("another cluster of this checkout is running")?;
    lock.set_len(0)?;
    write!(lock, "{}", process_id.display())?;
    lock.flush()?;
    Ok(lock)
}

/// Exits this process, and so stops the cluster, when the owner of the cluster exits. Does nothing without an owner.
///
/// Call this before any mount: a later mount may hide the path of the owner's lock file.
pub(super) fn exit_with_owner() -> Result<()> {
    if let Some(owner) = std::env::var_os(paths::OWNER_VARIABLE).filter(|path| !path.is_empty()) {
        let owner = PathBuf::from(owner);
        let lock =
            File::open(&owner).with_context(|| format!("{}: {}", paths::OWNER_VARIABLE, owner.display()))?;
        std::thread::spawn(move || exit_when_unlocked(&lock));
    }
    Ok(())
}

/// Exits this process when no other process holds the exclusive lock. The kernel releases it when the owner exits.
fn exit_when_unlocked(lock: &File) {
    let reason = loop {
        match lock.lock_shared() {
            Ok(()) => break "the owner of the cluster exited".to_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            // Without this exit the cluster could outlive its owner.
            Err(error) => break format!("cannot watch the owner of the cluster: {error}"),
        }
    };
    eprintln!("{reason}");
    std::process::exit(1);
}

/// Exits this process, and so stops the cluster, when `cluster up` exits before it has written [`DETACH`].
pub(super) fn exit_with_command() {
    std::thread::spawn(|| {
        let mut message = Vec::new();
        let _ = std::io::stdin().read_to_end(&mut message);
        if message != DETACH {
            eprintln!("`cluster up` exited before the cluster was ready");
            std::process::exit(1);
        }
    });
}

/// Waits for the byte that the node manager writes once the node is connected.
pub(super) fn wait_for_connection() -> Result<()> {
    std::io::stdin()
        .read_exact(&mut [0])
        .context("the node manager exited before it connected the node")
}

/// Exits this process, and so stops the node, when the node manager closes the standard input of this process or exits.
pub(super) fn exit_with_manager() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        eprintln!("the node manager exited");
        std::process::exit(1);
    });
}
