//! Network namespaces to connect from: those of pods, that of the node, and one of a machine outside of the cluster. A connection
//! then comes from exactly that address, and the image of the pod needs no tools.

use std::fs::File;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use e2e::{kubectl, succeed};
use nix::sched::{CloneFlags, setns, unshare};
use testbed::kubeadm;

use crate::processes::{self, Namespace};

/// The address of the machine outside of the cluster, in the network of the nodes.
pub(super) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 250);

/// The port that the machine outside listens on.
pub(super) const OUTSIDE_PORT: u16 = 443;

/// How long a connection may take. A refused packet gets no answer. The kernel sends the first packet again after 1 s, so this leaves
/// room for two lost ones on a busy machine.
const TIMEOUT: Duration = Duration::from_millis(3500);

/// A pod.
pub(super) struct Pod {
    pub(super) address: Ipv4Addr,
    /// The name of its node.
    pub(super) node: String,
    uid: String,
}

impl Pod {
    /// The running pods with a label, sorted by name.
    pub(super) fn with_label(namespace: &str, label: &str) -> Result<Vec<Self>> {
        let path = "jsonpath={range .items[*]}{.status.podIP} {.spec.nodeName} {.metadata.uid}{\"\\n\"}{end}";
        let running = "--field-selector=status.phase=Running";
        let answer = kubectl(&["-n", namespace, "get", "pods", "-l", label, running, "-o", path])?;
        let pods = answer.lines().map(|line| {
            let [address, node, uid] = line.split(' ').collect::<Vec<_>>()[..] else {
                bail!("a pod without an address or a node: {line}");
            };
            Ok(Self {
                address: address.parse()?,
                node: node.to_owned(),
                uid: uid.to_owned(),
            })
        });
        let pods: Vec<_> = pods.collect::<Result<_>>()?;
        ensure!(!pods.is_empty(), "no pod in {namespace} has the label {label}");
        Ok(pods)
    }

    /// The network namespace of the pod.
    pub(super) fn network(&self) -> Result<Network> {
        processes::network_of_pod(&self.uid).map(Network)
    }
}

/// A network namespace.
pub(super) struct Network(File);

impl Network {
    fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        File::open(path)
            .map(Self)
            .with_context(|| path.display().to_string())
    }

    /// The namespace of the node. Probes of the kubelet and requests of the API server come from there.
    pub(super) fn of_the_node() -> Result<Self> {
        Self::open(Namespace::of_the_cluster()?.network())
    }

    /// Creates a machine in the network of the nodes, which listens on [`OUTSIDE_PORT`]. It disappears with the returned values.
    pub(super) fn outside() -> Result<(Self, TcpListener)> {
        let first = Namespace::of_the_cluster()?.first;
        let node = Self::of_the_node()?;
        let created = thread::spawn(move || -> Result<(Self, TcpListener)> {
            // Only this thread, and the commands that it runs, enter the new namespace.
            unshare(CloneFlags::CLONE_NEWNET).context("cannot create a network namespace")?;
            let gateway = kubeadm::NODE_ADDRESS;
            for arguments in [
                "link set lo up".to_owned(),
                format!("link add eth0 type veth peer name outside0 netns {first}"),
                format!("address add {OUTSIDE}/24 dev eth0"),
                "link set eth0 up".to_owned(),
                format!("route add default via {gateway}"),
            ] {
                succeed(Command::new("ip").args(arguments.split(' ')))?;
            }
            let listener = TcpListener::bind((OUTSIDE, OUTSIDE_PORT))?;
            let network = Self::open("/proc/thread-self/ns/net")?;
            setns(node.0.as_fd(), CloneFlags::CLONE_NEWNET)?;
            let bridge = kubeadm::BRIDGE;
            succeed(Command::new("ip").args(["link", "set", "outside0", "master", bridge, "up"]))?;
            Ok((network, listener))
        });
        created.join().expect("the thread does not panic")
    }

    /// Runs `work` on a thread in this namespace.
    pub(super) fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(self.0.as_fd(), CloneFlags::CLONE_NEWNET)
                    .context("cannot enter a network namespace")?;
                work()
            });
            thread.join().expect("the thread does not panic")
        })
    }
}

/// What a connection asks for.
#[derive(Clone, Copy)]
pub(super) enum Target {
    /// A TCP port.
    Tcp(SocketAddrV4),
    /// A name server, which must resolve the name of the API server.
    Dns(SocketAddrV4),
}

impl Target {
    /// Whether a connection from the namespace of this thread is possible. A policy refuses one by dropping its packets.
    ///
    /// # Errors
    /// When the connection fails for another reason: then nothing listens, or there is no route.
    pub(super) fn is_open(self) -> Result<bool> {
        match self {
            Self::Tcp(address) => match TcpStream::connect_timeout(&address.into(), TIMEOUT) {
                Ok(_) => Ok(true),
                Err(error) if error.kind() == ErrorKind::TimedOut => Ok(false),
                Err(error) => Err(error).with_context(|| address.to_string()),
            },
            Self::Dns(address) => resolve(address),
        }
    }
}

/// Sends a query for the address of the API server (RFC 1035, section 4.1). Whether an answer without an error comes.
fn resolve(address: SocketAddrV4) -> Result<bool> {
    // Number 1, recursion desired, one question.
    let mut query = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in ["kubernetes", "default", "svc", "cluster", "local"] {
        query.push(u8::try_from(label.len())?);
        query.extend(label.as_bytes());
    }
    // The root, type A, class IN.
    query.extend([0, 0, 1, 0, 1]);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.send(&query)?;
    let mut answer = [0; 512];
    match socket.recv(&mut answer) {
        // The lower half of this byte is the response code.
        Ok(length) => match (length > 12, answer[3] % 16) {
            (true, 0) => Ok(true),
            (_, error) => bail!("{address} answers with {length} bytes and the error {error}"),
        },
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error).with_context(|| address.to_string()),
    }
}
