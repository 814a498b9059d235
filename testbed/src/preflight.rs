//! The requirements of the testbed on the machine. Each error says what to do.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{paths, progress, versions};

/// What to do on a machine that cannot run the testbed: the end of the error messages.
pub(crate) const ALTERNATIVE: &str = "alternatives: `cargo xtask demo --context NAME` uses your own cluster, \
                                      `cargo xtask up` runs app_a and app_b without a cluster";

/// Debian packages, each with a program that is present when the package is installed.
const PACKAGES: [(&str, &str); 7] = [
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("containernetworking-plugins", "/usr/lib/cni/bridge"),
    ("iptables", "xtables-nft-multi"),
    ("conntrack", "conntrack"),
    ("iproute2", "ip"),
    ("socat", "socat"),
];

/// The free space that a cold start requires, in bytes. Measured with `du` after a cold start: 2.5 GiB for the caches
/// of Go, and 1 GiB for programs, images and their unpacked copies. The rest is for logs.
const FREE_BYTES_COLD: u64 = 6 << 30;
/// The free space that a start requires when the components are already built, in bytes.
const FREE_BYTES_WARM: u64 = 2 << 30;

/// The forwarded ports: each port on the loopback of the machine, and the port of the node that it leads to.
pub const FORWARDS: [(u16, u16); 5] = [
    // The API server.
    (6443, 6443),
    // The NodePorts of app_a: HTTP and HTTPS.
    (30_080, 30_080),
    (30_443, 30_443),
    // The NodePort of Prometheus. 9090 is the usual port of Prometheus.
    (9090, 30_090),
    // The registry, if it runs (module registry).
    (5005, 5005),
];

/// Kernel modules that the kernel does not load early enough by itself, each with the file of a setting. The file exists if
/// the module is loaded or built into the kernel.
const MODULES: [(&str, &str); 2] = [
    // Passes traffic between pods on the bridge through iptables. In responses, iptables must translate the pod's address
    // back to the address of the Service.
    ("br_netfilter", "/proc/sys/net/bridge/bridge-nf-call-iptables"),
    // kube-proxy sets timeouts of this module at its start, and exits if that fails. The kernel itself loads the module
    // only later, with the first rule of kube-proxy.
    (
        "nf_conntrack",
        "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established",
    ),
];

/// Checks the requirements that [`install_packages`] cannot install: Linux, root, Go, util-linux.
///
/// # Errors
/// When a requirement is missing: the message names the first one, and says what to do.
pub fn check_machine() -> Result<()> {
    if std::env::consts::OS != "linux" {
        bail!(
            "the testbed needs Linux, and this machine runs {}; {ALTERNATIVE}",
            std::env::consts::OS
        );
    }
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "the testbed creates namespaces and mounts, and only root may do that: run it with sudo; {ALTERNATIVE}"
        );
    }
    check_path(&paths::workspace())?;
    check_go()?;
    for program in ["unshare", "nsenter", "setpriv"] {
        if !is_present(program) {
            bail!("`{program}` is missing: install util-linux; {ALTERNATIVE}");
        }
    }
    Ok(())
}

/// Rejects a path that PATH or the options of a mount would split.
fn check_path(path: &Path) -> Result<()> {
    if path.to_string_lossy().contains([':', ',']) {
        bail!(
            "the path {} contains `:` or `,`, which mounts and PATH cannot express: clone the project into another folder",
            path.display()
        );
    }
    Ok(())
}

/// Checks that the `go` in PATH is new enough to build every component.
///
/// Since Go 1.21 an older Go may download a newer one (`GOTOOLCHAIN=auto`). The testbed does not rely on that, because
/// the download needs a network.
///
/// # Errors
/// When Go is missing or too old: the message names the installed and the required version, and says what to do.
pub fn check_go() -> Result<()> {
    let required = versions::minimum_go();
    // In the folder of a module, `go version` may print the version of the toolchain that the module requires.
    let Ok(output) = Command::new("go").arg("version").current_dir("/").output() else {
        bail!(
            "the testbed builds Kubernetes with Go, and PATH contains no `go`: install Go {required} or later \
             (https://go.dev/dl/); {ALTERNATIVE}"
        );
    };
    let printed = String::from_utf8_lossy(&output.stdout);
    let printed = printed.trim();
    let Some(installed) = parse_go_version(printed) else {
        bail!(
            "`go version` printed {printed:?} ({}), which contains no version: install Go {required} or later \
             (https://go.dev/dl/); {ALTERNATIVE}",
            output.status
        );
    };
    if installed < required {
        bail!(
            "the testbed builds Kubernetes with Go {required} or later, and the `go` in PATH is {installed}: install a newer \
             Go (https://go.dev/dl/) and put its bin folder first in PATH; {ALTERNATIVE}"
        );
    }
    Ok(())
}

/// Parses the output of `go version`: `go version go1.26.8 linux/amd64`, `go version devel go1.27-3f1a2b …`.
fn parse_go_version(output: &str) -> Option<versions::GoVersion> {
    output
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("go"))
        .find_map(versions::GoVersion::parse)
}

/// Checks that the forwarded ports are free and that the disk has enough free space.
///
/// # Errors
/// When a port is in use or the disk is too full: the message names the first problem, and says what to do.
pub fn check_ports_and_disk() -> Result<()> {
    check_ports()?;
    check_disk()
}

fn check_ports() -> Result<()> {
    for (port, _) in FORWARDS {
        if let Err(error) = TcpListener::bind(("127.0.0.1", port)) {
            bail!(
                "port {port} of 127.0.0.1 cannot be used ({error}): stop the process that listens there \
                 (`ss -ltnp sport = :{port}` shows it); {ALTERNATIVE}"
            );
        }
    }
    Ok(())
}

fn check_disk() -> Result<()> {
    std::fs::create_dir_all(paths::cache()).context("cannot create target/testbed")?;
    let disk = nix::sys::statvfs::statvfs(&paths::cache())?;
    #[expect(
        clippy::useless_conversion,
        reason = "the width of the field differs between platforms"
    )]
    let free = u64::from(disk.blocks_available()) * u64::from(disk.fragment_size());
    let warm = paths::binaries().join("adapter.stamp").exists();
    let needed = if warm { FREE_BYTES_WARM } else { FREE_BYTES_COLD };
    if free < needed {
        bail!(
            "{} has {} MiB free, and the testbed needs {} MiB: free some space, or set CARGO_TARGET_DIR to a folder on \
             a larger disk; {ALTERNATIVE}",
            paths::cache().display(),
            free >> 20,
            needed >> 20
        );
    }
    Ok(())
}

/// The kernel modules that are not loaded yet, and that a cluster needs.
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

/// Installs the missing Debian packages as a step that prints their names.
///
/// # Errors
/// When the system has no `apt-get`: the message lists the packages. When `apt-get` fails.
pub fn install_packages() -> Result<()> {
    install(&PACKAGES, ALTERNATIVE)
}

/// Installs the Debian packages whose program is missing. `packages` are pairs of a package and its program.
///
/// Each error message ends with `hint`.
///
/// # Errors
/// When a package cannot be installed.
pub fn install(packages: &[(&str, &str)], hint: &str) -> Result<()> {
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
            "these packages (with their names in Debian) are missing: {list}; this system has no apt-get, so install \
             them yourself; {hint}"
        );
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("these packages are missing: {list}; `apt-get install {list}` needs root; {hint}");
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
    fn a_path_that_mounts_cannot_express_is_rejected() {
        assert!(check_path(Path::new("/srv/my project")).is_ok());
        for path in ["/srv/a:b", "/srv/a,b"] {
            let error = check_path(Path::new(path)).unwrap_err().to_string();
            assert!(
                error.contains(path) && error.contains("another folder"),
                "{error}"
            );
        }
    }

    #[test]
    fn the_output_of_go_version_is_parsed() {
        let version = |output| parse_go_version(output).map(|version| version.to_string());
        for (output, expected) in [
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
            assert_eq!(version(output).as_deref(), expected, "{output}");
        }
    }

    #[test]
    fn an_older_go_is_less_than_the_minimum_and_a_newer_one_is_not() {
        let needed = versions::minimum_go();
        assert!(parse_go_version("go version go1.19.8 linux/amd64").unwrap() < needed);
        assert!(parse_go_version(&format!("go version go{needed} linux/amd64")).unwrap() >= needed);
        assert!(parse_go_version("go version go1.100.0 linux/amd64").unwrap() > needed);
    }
}
