//! What the testbed needs of the machine, looked at first, each lack with what to do about it.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{paths, progress, versions};

/// What to do on a machine that cannot hold the testbed.
pub(crate) const INSTEAD: &str = "instead: `cargo xtask demo --context NAME` uses a cluster that you have, \
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

/// Kernel modules that the kernel does not load by itself in time, and a setting of each that is there when the module is
/// built in or loaded.
const MODULES: [(&str, &str); 2] = [
    // Answers between pods of this bridge pass through the tables that undo a Service's address.
    ("br_netfilter", "/proc/sys/net/bridge/bridge-nf-call-iptables"),
    // kube-proxy sets its timeouts, or ends, before it makes the first rule that would have the module loaded.
    (
        "nf_conntrack",
        "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established",
    ),
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
    go_is_recent()?;
    for program in ["unshare", "nsenter", "setpriv"] {
        if !is_present(program) {
            bail!("`{program}` is missing: install util-linux; {INSTEAD}");
        }
    }
    Ok(())
}

/// Looks for a Go that can build every component. One that is too old might fetch a newer one by itself
/// (`GOTOOLCHAIN=auto`, since Go 1.21), which needs a network and is not relied upon.
///
/// # Errors
/// When there is none, or it is too old: which is there, which is needed, and what to do about it.
pub fn go_is_recent() -> Result<()> {
    let needed = versions::go();
    // In a folder of a module, `go version` may be that of a toolchain which this module asks for.
    let Ok(output) = Command::new("go").arg("version").current_dir("/").output() else {
        bail!(
            "the testbed builds Kubernetes with Go, and there is no `go` in PATH: install Go {needed} or later \
             (https://go.dev/dl/); {INSTEAD}"
        );
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let said = said.trim();
    let Some(found) = installed_go(said) else {
        bail!(
            "`go version` says {said:?} ({}), which names no version: install Go {needed} or later \
             (https://go.dev/dl/); {INSTEAD}",
            output.status
        );
    };
    if found < needed {
        bail!(
            "the testbed builds Kubernetes with Go {needed} or later, and the `go` in PATH is {found}: install a newer \
             one (https://go.dev/dl/) and put its bin folder first in PATH; {INSTEAD}"
        );
    }
    Ok(())
}

/// The version in what `go version` prints: `go version go1.26.8 linux/amd64`, `go version devel go1.27-3f1a2b …`.
fn installed_go(said: &str) -> Option<versions::Go> {
    said.split_whitespace()
        .filter_map(|word| word.strip_prefix("go"))
        .find_map(versions::Go::parse)
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
            "{} has {} MiB free, the testbed needs {}: make room, or set CARGO_TARGET_DIR to a larger disk; {INSTEAD}",
            paths::cache().display(),
            free >> 20,
            needed >> 20
        );
    }
    Ok(())
}

/// The kernel modules that have to be loaded first.
#[must_use]
pub fn missing_modules() -> Vec<&'static str> {
    MODULES
        .into_iter()
        .filter(|(_, setting)| !Path::new(setting).exists())
        .map(|(module, _)| module)
        .collect()
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
    install(&PACKAGES, INSTEAD)
}

/// Installs those packages of Debian whose program is missing; pairs of a package and its program. `instead` is what else
/// helps, for the error.
///
/// # Errors
/// When one cannot be installed.
pub fn install(packages: &[(&str, &str)], instead: &str) -> Result<()> {
    let missing: Vec<_> = packages
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
            "missing, by Debian's names: {list}; there is no apt-get here, install them by hand; {instead}"
        );
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("missing: {list}; `apt-get install {list}` needs root; {instead}");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_installed_go_is_read_from_what_it_prints() {
        let version = |said| installed_go(said).map(|found| found.to_string());
        for (said, found) in [
            ("go version go1.26.8 linux/amd64", Some("1.26.8")),
            ("go version go1.19.8 linux/amd64", Some("1.19.8")),
            ("go version go1.27 linux/arm64", Some("1.27.0")),
            ("go version go1.27rc1 linux/amd64", Some("1.27.0")),
            (
                "go version devel go1.27-3f1a2b4c5d Mon Jan 5 10:00:00 2026 +0000 linux/amd64",
                Some("1.27.0"),
            ),
            ("go: cannot find GOROOT directory", None),
            ("", None),
        ] {
            assert_eq!(version(said).as_deref(), found, "{said}");
        }
    }

    #[test]
    fn a_distribution_s_old_go_is_refused_and_the_needed_one_is_not() {
        let needed = versions::go();
        assert!(installed_go("go version go1.19.8 linux/amd64").unwrap() < needed);
        assert!(installed_go(&format!("go version go{needed} linux/amd64")).unwrap() >= needed);
        assert!(installed_go("go version go1.100.0 linux/amd64").unwrap() > needed);
    }
}
