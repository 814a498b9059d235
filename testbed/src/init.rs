//! The first process of the cluster's namespaces. While it lives, the cluster does; when it ends, however it ends,
//! the kernel ends every process of its namespace, and with the last of them go the mounts and the network.
//!
//! It lays out the file system and the network, keeps containerd and the kubelet running as a service manager would,
//! reaps what is orphaned, and forwards a few ports of the machine's loopback into the cluster.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::wait::{WaitStatus, waitpid};

use crate::sandbox::DETACH;
use crate::{cgroup, kubeadm, paths, preflight, progress, wait};

/// Folders that the cluster's processes write to, each a folder of our state instead of the machine's.
const OWN_FOLDERS: [&str; 8] = [
    "/etc/kubernetes",
    "/etc/cni/net.d",
    "/var/lib/kubelet",
    "/var/lib/containerd",
    "/var/lib/etcd",
    "/var/lib/cni",
    "/var/log/pods",
    "/var/log/containers",
];

/// Kernel settings that the kubelet insists on. They are not per namespace: it reads these values, and the machine
/// keeps its own.
const KERNEL_SETTINGS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// Runs until the cluster is taken down. To be called as process 1 of new mount, process, IPC and UTS namespaces.
///
/// # Errors
/// When a part of the sandbox cannot be made.
pub fn run() -> Result<()> {
    // Read through the machine's /proc: our number there, by which `down` ends us.
    let own_number = fs::read_link("/proc/self").context("/proc is not mounted")?;
    let mut lock = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(paths::lock())?;
    lock.lock().context("another cluster of this checkout is alive")?;
    lock.set_len(0)?;
    write!(lock, "{}", own_number.display())?;
    lock.flush()?;

    // Opened before the mounts, which may come to lie over the path to it.
    if let Some(owner) = std::env::var_os(paths::OWNER).filter(|path| !path.is_empty()) {
        let owner = PathBuf::from(owner);
        let lock = File::open(&owner).with_context(|| format!("{}: {}", paths::OWNER, owner.display()))?;
        std::thread::spawn(move || end_with_the_owner(&lock));
    }

    raise_descriptor_limit()?;
    // These sockets stay in the machine's network; every later one is of the cluster's.
    let listeners = listen()?;
    unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
    mounts()?;
    network()?;
    cgroup::create().context("cannot make a cgroup")?;
    fs::write("/etc/cni/net.d/10-pods.conflist", kubeadm::pod_network())?;
    fs::write("/etc/kubernetes/containerd.toml", kubeadm::containerd())?;
    fs::write("/etc/kubernetes/kubeadm.yaml", kubeadm::configuration())?;
    names()?;

    let services = Arc::new(Services::default());
    services.start(Service::Containerd)?;
    std::thread::spawn(end_with_the_command);
    std::thread::spawn({
        let services = Arc::clone(&services);
        move || {
            // kubeadm writes both; without systemd it leaves the start to us.
            while !Path::new(KUBELET_CONFIGURATION).exists() || !Path::new(KUBELET_ACCESS).exists() {
                wait::pause(Duration::from_millis(100));
            }
            if let Err(error) = services.start(Service::Kubelet) {
                eprintln!("{error:#}");
            }
        }
    });
    std::thread::spawn(move || services.reap());
    forward(listeners)
}

/// Lets this process and its children open as many files as they may. A shell's limit is often 1,024, which is 512
/// forwarded connections; a service manager gives containerd more, too.
fn raise_descriptor_limit() -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("cannot raise the limit of open files")
}

/// Ends this process, and so the cluster, when the command that started it ends before the cluster is whole.
fn end_with_the_command() {
    let mut message = Vec::new();
    let _ = std::io::stdin().read_to_end(&mut message);
    if message != DETACH {
        eprintln!("the command that started the cluster ended before it was whole");
        std::process::exit(1);
    }
}

/// Ends this process, and so the cluster, when whoever holds this lock ends: the kernel then frees it.
fn end_with_the_owner(lock: &File) {
    let reason = loop {
        match lock.lock_shared() {
            Ok(()) => break "the owner of the cluster has ended".to_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            // A cluster whose owner cannot be watched might stay for good.
            Err(error) => break format!("the owner of the cluster cannot be watched: {error}"),
        }
    };
    eprintln!("{reason}");
    std::process::exit(1);
}

fn listen() -> Result<Vec<(std::net::TcpListener, u16)>> {
    preflight::FORWARDS
        .into_iter()
        .map(|(outside, inside)| {
            let listener = std::net::TcpListener::bind(("127.0.0.1", outside))
                .with_context(|| format!("port {outside} of 127.0.0.1"))?;
            listener.set_nonblocking(true)?;
            Ok((listener, inside))
        })
        .collect()
}

fn mounts() -> Result<()> {
    let nothing = None::<&str>;
    mount(
        nothing,
        "/",
        nothing,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        nothing,
    )?;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), nothing).context("/proc")?;
    let state = paths::state();
    fs::create_dir_all(&state)?;
    // Seen through an overlay, the machine's folders can get mount points without being touched. A folder of ours is
    // opened before, because an overlay may come to lie over the path to it.
    let mut own = Vec::new();
    for folder in OWN_FOLDERS {
        let source = state.join(folder.trim_start_matches('/').replace('/', "-"));
        fs::create_dir_all(&source)?;
        own.push((folder, File::open(&source)?));
    }
    let cache = File::open(paths::cache())?;
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
    for (folder, source) in own {
        fs::create_dir_all(folder)?;
        bind(&descriptor_path(&source), Path::new(folder))?;
    }
    if !same_file(&paths::cache(), &cache)? {
        bind(&descriptor_path(&cache), &paths::cache())?;
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
    let settings = PathBuf::from("/run/kernel-settings");
    for (name, value) in KERNEL_SETTINGS {
        let own = settings.join(name);
        fs::create_dir_all(own.parent().unwrap_or(&settings))?;
        fs::write(&own, format!("{value}\n"))?;
        bind(&own, &Path::new("/proc/sys").join(name))?;
    }
    // The kubelet hands mounts on to its pods.
    mount(
        nothing,
        "/",
        nothing,
        MsFlags::MS_REC | MsFlags::MS_SHARED,
        nothing,
    )?;
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
    mount(Some(source), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("bind mount over {}", target.display()))
}

/// A network that ends at its own bridge.
fn network() -> Result<()> {
    nix::unistd::sethostname(kubeadm::NODE_NAME)?;
    let address = format!("{}/24", kubeadm::NODE_ADDRESS);
    for arguments in [
        "link set lo up",
        "link add node0 type bridge",
        &format!("address add {address} dev node0"),
        "link set node0 up",
        "route add default dev node0",
    ] {
        progress::run(Command::new("ip").args(arguments.split(' ')))?;
    }
    fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
    for module in preflight::missing_modules() {
        // The machine's, not ours alone, and not undone: it cannot be told who else has come to use it.
        eprintln!("modprobe {module}: the machine keeps this module loaded");
        let _ = Command::new("modprobe").arg(module).status();
    }
    let missing = preflight::missing_modules().join(", ");
    if !missing.is_empty() {
        bail!("modprobe failed: the kernel has no {missing}, without which no Service works");
    }
    fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", "1")
        .context("cannot switch on bridge-nf-call-iptables")
}

/// Names, as far as a cluster without an uplink needs them: its own. A name server that cannot be reached costs the
/// kubelet ten seconds each time it looks its node's name up.
fn names() -> Result<()> {
    let (address, name) = (kubeadm::NODE_ADDRESS, kubeadm::NODE_NAME);
    fs::write("/etc/hosts", format!("127.0.0.1 localhost\n{address} {name}\n"))?;
    let _ = fs::remove_file("/etc/resolv.conf");
    fs::write("/etc/resolv.conf", format!("nameserver {address}\n"))?;
    Ok(())
}

const KUBELET_CONFIGURATION: &str = "/var/lib/kubelet/config.yaml";
const KUBELET_ACCESS: &str = "/etc/kubernetes/kubelet.conf";

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
                    &format!("--kubeconfig={KUBELET_ACCESS}"),
                ]);
                // What kubeadm found out about this machine: KUBELET_KUBEADM_ARGS="--flag=value --flag=value"
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

/// The running services by process id; whatever ends is started again.
#[derive(Default)]
struct Services(Mutex<HashMap<i32, Service>>);

impl Services {
    fn start(&self, service: Service) -> Result<()> {
        // Held over the start, so that a service that ends at once is known when it is reaped.
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

    /// Reaps every child and orphan of the namespace, forever.
    fn reap(&self) {
        loop {
            let Ok(WaitStatus::Exited(ended, _) | WaitStatus::Signaled(ended, _, _)) = waitpid(None, None)
            else {
                wait::pause(Duration::from_millis(100));
                continue;
            };
            let service = self
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&ended.as_raw());
            if let Some(service) = service {
                eprintln!("{service:?} ended, starting it again");
                wait::pause(Duration::from_secs(1));
                if let Err(error) = self.start(service) {
                    eprintln!("{error:#}");
                }
            }
        }
    }
}

/// Carries connections from the machine's loopback to the node's address.
fn forward(listeners: Vec<(std::net::TcpListener, u16)>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    runtime.block_on(async {
        let mut accepting = Vec::new();
        for (listener, port) in listeners {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            accepting.push(tokio::spawn(accept(listener, port)));
        }
        for task in accepting {
            task.await?;
        }
        Ok(())
    })
}

async fn accept(listener: tokio::net::TcpListener, port: u16) {
    loop {
        let Ok((mut outside, _)) = listener.accept().await else {
            // Out of descriptors, most likely, until a connection ends.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        tokio::spawn(async move {
            // A refused connection is seen outside as one that is closed at once.
            if let Ok(mut inside) = tokio::net::TcpStream::connect((kubeadm::NODE_ADDRESS, port)).await {
                let _ = outside.set_nodelay(true);
                let _ = inside.set_nodelay(true);
                let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
            }
        });
    }
}
