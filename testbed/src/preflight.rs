//! What the testbed needs of the machine, looked at first, each lack with what to do about it.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{paths, progress};

/// What to do on a machine that cannot hold the testbed.
const INSTEAD: &str = "instead: `cargo xtask demo --context NAME` uses a cluster that you have, \
                       `cargo xtask up` runs the pair without one";

/// Debian's packages, and a program of each that shows that it is there.
const PACKAGES: [(&str, &str); 7] = [
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("containernetworking-plugins", "/usr/lib/cni/bridge"),
    ("iptables", "xtables-nft-multi"),
    ("conntrack", "conntrack"),
    ("iproute2", "ip"),
    ("socat", "socat"),
];

/// Free space that a cold start takes: 2.5 GiB of Go's caches, 1 GiB of programs, images and their unpacked copies,
/// and room for logs (measured with `du` after one).
const FREE_BYTES_COLD: u64 = 6 << 30;
/// The same when the components are built.
const FREE_BYTES_WARM: u64 = 2 << 30;

/// Ports of this machine's loopback that lead into the cluster: ours, and the node's.
pub const FORWARDS: [(u16, u16); 3] = [
    // The API server.
    (6443, 6443),
    // app_a's NodePort.
    (30_080, 30_080),
    // Prometheus' NodePort, under the port that people expect it on.
    (9090, 30_090),
];

/// Looks at what no command can bring: Linux, root, Go.
///
/// # Errors
/// The first lack, and what to do about it.
pub fn machine_can() -> Result<()> {
    if std::env::consts::OS != "linux" {
        bail!(
            "the testbed needs Linux, this is {}; {INSTEAD}",
            std::env::consts::OS
        );
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("the testbed makes namespaces and mounts, which needs root: run it with sudo; {INSTEAD}");
    }
    if Command::new("go").arg("version").output().is_err() {
        bail!(
            "the testbed builds Kubernetes with Go, and there is no `go` in PATH: install Go 1.26; {INSTEAD}"
        );
    }
    for program in ["unshare", "nsenter", "setpriv"] {
        if !is_present(program) {
            bail!("`{program}` is missing: install util-linux; {INSTEAD}");
        }
    }
    Ok(())
}

/// Looks at what somebody else may be using: ports, the disk.
///
/// # Errors
/// The first lack, and what to do about it.
pub fn machine_is_free() -> Result<()> {
    ports_are_free()?;
    disk_has_room()
}

fn ports_are_free() -> Result<()> {
    for (port, _) in FORWARDS {
        if let Err(error) = TcpListener::bind(("127.0.0.1", port)) {
            bail!(
                "port {port} of 127.0.0.1 cannot be used ({error}): stop what listens there \
                 (`ss -ltnp sport = :{port}` names it); {INSTEAD}"
            );
        }
    }
    Ok(())
}

fn disk_has_room() -> Result<()> {
    std::fs::create_dir_all(paths::cache()).context("cannot create target/testbed")?;
    let disk = nix::sys::statvfs::statvfs(&paths::cache())?;
    #[expect(
        clippy::useless_conversion,
        reason = "the field's width differs between platforms"
    )]
    let free = u64::from(disk.blocks_available()) * u64::from(disk.fragment_size());
    let warm = paths::binaries().join("adapter.stamp").exists();
    let needed = if warm { FREE_BYTES_WARM } else { FREE_BYTES_COLD };
    if free < needed {
        bail!(
            "{} has {} MiB free, the testbed needs {}: make room, or set CARGO_TARGET_DIR to a larger disk",
            paths::cache().display(),
            free >> 20,
            needed >> 20
        );
    }
    Ok(())
}

fn is_present(program: &str) -> bool {
    if program.starts_with('/') {
        return Path::new(program).exists();
    }
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/sbin"])
        .any(|folder| Path::new(folder).join(program).exists())
}

/// Installs what is missing of Debian's packages, and says so.
///
/// # Errors
/// On a system without apt, with the list of what to install; or when apt fails.
pub fn install_packages() -> Result<()> {
    let missing: Vec<_> = PACKAGES
        .iter()
        .filter(|(_, program)| !is_present(program))
        .map(|(package, _)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !is_present("apt-get") {
        bail!(
            "missing, by Debian's names: {list}; there is no apt-get here, install them by hand; {INSTEAD}"
        );
    }
    progress::step(&format!("apt-get install {list}"), || {
        let apt = |arguments: &[&str]| {
            let mut command = Command::new("apt-get");
            command.env("DEBIAN_FRONTEND", "noninteractive").args(arguments);
            progress::run(&mut command)
        };
        apt(&["update", "--quiet"])?;
        let mut install = vec!["install", "--yes", "--quiet", "--no-install-recommends"];
        install.extend(&missing);
        apt(&install)?;
        Ok(())
    })
}
