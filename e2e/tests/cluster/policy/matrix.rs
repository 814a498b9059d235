//! The matrix of connections: which source reaches which destination.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use e2e::kubectl;
use testbed::{kubeadm, paths};

use super::network::{Network, OUTSIDE, OUTSIDE_PORT, Pod, Target};
use super::strangers::{self, STRANGER};

/// The document with the expected matrix.
const DOCUMENT: &str = "docs/network.md";

/// A cell of the matrix: the connection is possible.
const OPEN: &str = "yes";
/// The policies refuse the connection.
const REFUSED: &str = "no";
/// The only pod of the destination is the source. Such a connection does not leave the pod.
const ITSELF: &str = "itself";

/// A source of connections.
struct Source {
    name: &'static str,
    network: Network,
    /// `None` outside of pods.
    address: Option<Ipv4Addr>,
    /// `None` outside of the cluster.
    node: Option<String>,
}

/// A destination, with the pods that serve it and their nodes.
struct Destination {
    name: String,
    targets: Vec<(Target, Option<String>)>,
}

impl Source {
    /// The pod of the destination that the source connects to: not itself, and on another node, if there is one. But a node connects to
    /// its own pods, because policies apply to the connections of another node.
    fn target(&self, destination: &Destination) -> Option<Target> {
        let is_itself = |target: &Target| matches!(target, Target::Tcp(to) if Some(*to.ip()) == self.address);
        let targets = destination
            .targets
            .iter()
            .filter(|(target, _)| !is_itself(target));
        let target = targets.min_by_key(|(_, node)| (*node == self.node) == self.address.is_some());
        target.map(|(target, _)| *target)
    }
}

/// The sources and destinations on the running cluster.
pub(super) struct Connections {
    sources: Vec<Source>,
    destinations: Vec<Destination>,
    /// Outside of the cluster.
    _listener: TcpListener,
}

/// The address of a Service.
fn service(namespace: &str, name: &str, port: u16) -> Result<SocketAddrV4> {
    let path = "jsonpath={.spec.clusterIP}";
    let address = kubectl(&["-n", namespace, "get", "service", name, "-o", path])?;
    Ok(SocketAddrV4::new(address.parse()?, port))
}

impl Connections {
    /// Finds the pods of the local overlay, and creates a pod without a purpose in each of two namespaces.
    pub(super) fn find() -> Result<Self> {
        strangers::create()?;
        let pods =
            |namespace, name: &str| Pod::with_label(namespace, &format!("app.kubernetes.io/name={name}"));
        let (app_a, app_b) = (pods("sample-app", "app-a")?, pods("sample-app", "app-b")?);
        let (prometheus, adapter) = (
            pods("monitoring", "prometheus")?,
            pods("monitoring", "prometheus-adapter")?,
        );
        let (neighbour, stranger) = (pods("sample-app", STRANGER)?, pods(STRANGER, STRANGER)?);
        let (outside, listener) = Network::outside()?;
        let source = |name, pods: &[Pod]| {
            Ok::<_, anyhow::Error>(Source {
                name,
                network: pods[0].network()?,
                address: Some(pods[0].address),
                node: Some(pods[0].node.clone()),
            })
        };
        let sources = vec![
            Source {
                name: "outside of the cluster",
                network: outside,
                address: None,
                node: None,
            },
            Source {
                name: "the node",
                network: Network::of_the_node()?,
                address: None,
                node: Some(kubeadm::NODE_NAME.to_owned()),
            },
            source("app-a", &app_a)?,
            source("app-b", &app_b)?,
            source("prometheus", &prometheus)?,
            source("prometheus-adapter", &adapter)?,
            source("another pod in sample-app", &neighbour)?,
            source("a pod in another namespace", &stranger)?,
        ];
        let of_pods = |name: &str, pods: &[Pod], port| Destination {
            name: format!("{name} {port}"),
            targets: pods
                .iter()
                .map(|pod| {
                    let target = Target::Tcp(SocketAddrV4::new(pod.address, port));
                    (target, Some(pod.node.clone()))
                })
                .collect(),
        };
        let single = |name: &str, target| Destination {
            name: name.to_owned(),
            targets: vec![(target, None)],
        };
        let destinations = vec![
            of_pods("app-a", &app_a, 5000),
            of_pods("app-a", &app_a, 5443),
            of_pods("app-a", &app_a, 9000),
            of_pods("app-b", &app_b, 5001),
            of_pods("app-b", &app_b, 9000),
            of_pods("prometheus", &prometheus, 9090),
            of_pods("prometheus-adapter", &adapter, 6443),
            of_pods("prometheus-adapter", &adapter, 9000),
            single("API server", Target::Tcp(service("default", "kubernetes", 443)?)),
            single("DNS", Target::Dns(service("kube-system", "kube-dns", 53)?)),
            single(
                "outside of the cluster",
                Target::Tcp(SocketAddrV4::new(OUTSIDE, OUTSIDE_PORT)),
            ),
        ];
        Ok(Self {
            sources,
            destinations,
            _listener: listener,
        })
    }

    /// Whether each source that is a pod connects to a pod of another node.
    pub(super) fn cross_nodes(&self) -> bool {
        let crosses = |source: &Source| {
            let mut nodes = self.destinations.iter().flat_map(|to| &to.targets);
            nodes.any(|(_, node)| node.is_some() && *node != source.node)
        };
        let mut pods = self.sources.iter().filter(|source| source.address.is_some());
        pods.all(crosses)
    }

    /// Tries every connection, all at the same time.
    ///
    /// # Errors
    /// When a connection fails for another reason than a policy.
    pub(super) fn probe(&self) -> Result<Matrix> {
        let row = |source: &Source| -> Result<Vec<String>> {
            thread::scope(|scope| {
                let probe = |destination: &Destination| {
                    let Some(target) = source.target(destination) else {
                        return Ok(ITSELF.to_owned());
                    };
                    let is_open = source.network.run(move || target.is_open());
                    let is_open =
                        is_open.with_context(|| format!("from {} to {}", source.name, destination.name))?;
                    Ok(if is_open { OPEN } else { REFUSED }.to_owned())
                };
                let threads: Vec<_> = self
                    .destinations
                    .iter()
                    .map(|destination| scope.spawn(move || probe(destination)))
                    .collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().expect("the thread does not panic"))
                    .collect()
            })
        };
        let cells = thread::scope(|scope| {
            let threads: Vec<_> = self
                .sources
                .iter()
                .map(|source| scope.spawn(move || row(source)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("the thread does not panic"))
                .collect::<Result<Vec<_>>>()
        })?;
        let rows = self.sources.iter().zip(cells);
        Ok(Matrix {
            destinations: self.destinations.iter().map(|to| to.name.clone()).collect(),
            rows: rows
                .map(|(source, cells)| (source.name.to_owned(), cells))
                .collect(),
        })
    }
}

/// The result for each source and destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Matrix {
    destinations: Vec<String>,
    rows: Vec<(String, Vec<String>)>,
}

impl Matrix {
    /// The matrix of the documentation: the table whose first cell is `from`.
    pub(super) fn documented() -> Result<Self> {
        let document = std::fs::read_to_string(paths::workspace().join(DOCUMENT))?;
        let table = document.lines().skip_while(|line| !line.starts_with("| from"));
        let mut rows = table.take_while(|line| line.starts_with('|')).map(|line| {
            let mut cells = line
                .trim_matches('|')
                .split('|')
                .map(|cell| cell.trim().to_owned());
            let name = cells.next().unwrap_or_default();
            (name, cells.collect::<Vec<_>>())
        });
        let (_, destinations) = rows.next().with_context(|| format!("{DOCUMENT} has no matrix"))?;
        let rows: Vec<_> = rows.skip(1).collect();
        ensure!(!rows.is_empty(), "the matrix of {DOCUMENT} has no rows");
        Ok(Self { destinations, rows })
    }

    /// The same matrix without policies: every connection is possible.
    pub(super) fn open(mut self) -> Self {
        for (_, cells) in &mut self.rows {
            for cell in cells.iter_mut().filter(|cell| *cell == REFUSED) {
                OPEN.clone_into(cell);
            }
        }
        self
    }

    /// The names of the rows, each with its number of cells.
    fn row_names(&self) -> Vec<(&str, usize)> {
        let rows = self.rows.iter();
        rows.map(|(name, cells)| (name.as_str(), cells.len())).collect()
    }

    /// The differences to another matrix, one a line.
    pub(super) fn differences(&self, expected: &Self) -> String {
        if self.destinations != expected.destinations || self.row_names() != expected.row_names() {
            return format!("expected the columns and rows of\n{}", expected.table());
        }
        let mut differences = String::new();
        for ((from, cells), (_, wanted)) in self.rows.iter().zip(&expected.rows) {
            for ((to, cell), wanted) in self.destinations.iter().zip(cells).zip(wanted) {
                if cell != wanted {
                    let _ = writeln!(differences, "from {from} to {to}: {cell}, expected {wanted}");
                }
            }
        }
        differences
    }

    /// The same matrix, but the policies refuse this connection.
    ///
    /// # Panics
    /// If the matrix has no such cell.
    pub(super) fn refusing(mut self, from: &str, to: &str) -> Self {
        let column = self.destinations.iter().position(|name| name == to);
        let row = self.rows.iter_mut().find(|(name, _)| name == from);
        let (column, (_, cells)) = column.zip(row).expect("a cell of the matrix");
        REFUSED.clone_into(&mut cells[column]);
        self
    }

    /// The matrix in the format of the documentation.
    pub(super) fn table(&self) -> String {
        let mut table = format!("| from | {} |\n", self.destinations.join(" | "));
        let _ = writeln!(table, "|{}", "---|".repeat(self.destinations.len() + 1));
        for (name, cells) in &self.rows {
            let _ = writeln!(table, "| {name} | {} |", cells.join(" | "));
        }
        table
    }
}
