//! The nodes that run, and the faults of the zones.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Error, anyhow};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};
use tokio::sync::watch;

use super::instance::{self, Instance};
use crate::kubeadm::ADDED_NODES;
use crate::nodes::{Fault, NewNode, Node, State, ZONES, Zone, provider_id, request};

/// Why a request is refused.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The request is invalid.
    Invalid(Error),
    /// A node of this name exists.
    Exists,
    /// No node of this name exists.
    NoNode,
    /// No zone of this name exists.
    NoZone,
    /// The zone is down, or all addresses are in use.
    NoCapacity(String),
    /// The launch or the removal failed.
    Failed(Error),
}

/// All nodes.
#[derive(Default)]
pub(super) struct Fleet(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    nodes: BTreeMap<String, Record>,
    /// The names of nodes whose launch failed, until their files are removed.
    unfinished: BTreeSet<String>,
    faults: BTreeMap<String, Fault>,
    /// The number of launches, from which the next address follows. A new node does not get the address of a node that
    /// has just stopped: other nodes may still know the hardware address of the old one.
    launches: usize,
}

/// A node that runs.
struct Record {
    node: Node,
    number: u8,
    handle: Handle,
}

/// Kills a node, and waits until it is gone.
#[derive(Clone)]
struct Handle {
    /// The first process of the node.
    process: Arc<OwnedFd>,
    /// `None` until the node has stopped. Then, whether nothing of it is left.
    gone: watch::Receiver<Option<Result<(), String>>>,
}

impl Handle {
    fn kill(&self) -> Result<(), Refusal> {
        match pidfd_send_signal(&*self.process, Signal::KILL) {
            // SRCH: the process has exited.
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(Refusal::Failed(error.into())),
        }
    }

    /// Waits until nothing of the node is left.
    async fn wait_until_gone(mut self) -> Result<(), Refusal> {
        let gone = self.gone.wait_for(Option::is_some).await;
        // The sender is dropped without a value only if its thread has panicked.
        let gone = gone.ok().and_then(|gone| gone.clone());
        let gone = gone.unwrap_or_else(|| Err("the thread of the node panicked".to_owned()));
        gone.map_err(|error| Refusal::Failed(anyhow!(error)))
    }
}

impl Fleet {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn zones(&self) -> Vec<Zone> {
        let inner = self.lock();
        let zone = |name: &str| Zone {
            name: name.to_owned(),
            fault: inner.faults.get(name).copied(),
        };
        ZONES.map(zone).into()
    }

    pub(super) fn nodes(&self) -> Vec<Node> {
        self.lock()
            .nodes
            .values()
            .map(|record| record.node.clone())
            .collect()
    }

    pub(super) fn node(&self, name: &str) -> Result<Node, Refusal> {
        let inner = self.lock();
        let record = inner.nodes.get(name).ok_or(Refusal::NoNode)?;
        Ok(record.node.clone())
    }

    /// Starts the first process of a node. The node joins the cluster later.
    pub(super) fn launch(self: &Arc<Self>, request: NewNode) -> Result<Node, Refusal> {
        let instance_type = request::check(&request).map_err(Refusal::Invalid)?;
        let mut inner = self.lock();
        if inner.nodes.contains_key(&request.name) || inner.unfinished.contains(&request.name) {
            return Err(Refusal::Exists);
        }
        let fault = inner.faults.get(&request.zone).copied();
        if fault == Some(Fault::Down) {
            return Err(Refusal::NoCapacity(format!(
                "insufficient capacity: zone {} is down",
                request.zone
            )));
        }
        let number = inner
            .free_number()
            .ok_or_else(|| Refusal::NoCapacity("insufficient capacity: all addresses are in use".into()))?;
        let (instance, process) = match Instance::launch(&request, instance_type, number) {
            Ok(launched) => launched,
            Err(error) => {
                inner.unfinished.insert(request.name.clone());
                // The removal may take long.
                drop(inner);
                self.finish(&request.name);
                return Err(Refusal::Failed(error));
            }
        };
        inner.launches += 1;
        let node = Node {
            provider_id: provider_id(&request.zone, &request.name),
            address: instance.address(),
            state: State::Starting,
            message: String::new(),
            process: instance.process(),
            created: jiff::Timestamp::now().to_string(),
            request,
        };
        let (sender, gone) = watch::channel(None);
        inner.nodes.insert(
            node.request.name.clone(),
            Record {
                node: node.clone(),
                number,
                handle: Handle {
                    process: Arc::new(process),
                    gone,
                },
            },
        );
        let fleet = Arc::clone(self);
        std::thread::spawn(move || {
            let gone = fleet.follow(instance, fault != Some(Fault::NoJoin));
            // This fails if nobody waits.
            let _ = sender.send(Some(gone));
        });
        Ok(node)
    }

    /// Removes what a failed launch leaves.
    fn finish(&self, name: &str) {
        if let Err(error) = instance::remove_files(name) {
            eprintln!("node {name}: {error:#}");
        }
        self.lock().unfinished.remove(name);
    }

    /// Joins a node to the cluster, and removes what it leaves when it has stopped. Returns whether nothing is left.
    fn follow(&self, mut instance: Instance, joins: bool) -> Result<(), String> {
        let outcome = if joins {
            instance.join()
        } else {
            instance.connect()
        };
        {
            let mut inner = self.lock();
            if let Some(record) = inner.nodes.get_mut(instance.name()) {
                match outcome {
                    Ok(()) if joins => record.node.state = State::Joined,
                    Ok(()) => {}
                    Err(error) => {
                        eprintln!("node {}: {error:#}", instance.name());
                        record.node.state = State::Failed;
                        record.node.message = format!("{error:#}");
                    }
                }
            }
        }
        let gone = instance.wait().map_err(|error| format!("{error:#}"));
        if let Err(error) = &gone {
            eprintln!("node {}: {error}", instance.name());
        }
        self.lock().nodes.remove(instance.name());
        gone
    }

    /// Kills a node, and waits until nothing of it is left.
    pub(super) async fn remove(&self, name: &str) -> Result<Node, Refusal> {
        let (node, handle) = {
            let inner = self.lock();
            let record = inner.nodes.get(name).ok_or(Refusal::NoNode)?;
            (record.node.clone(), record.handle.clone())
        };
        handle.kill()?;
        handle.wait_until_gone().await?;
        Ok(node)
    }

    /// Sets or clears the fault of a zone. A zone that is down has no nodes when this returns.
    pub(super) async fn set_fault(&self, zone: &str, fault: Option<Fault>) -> Result<Zone, Refusal> {
        if !ZONES.contains(&zone) {
            return Err(Refusal::NoZone);
        }
        let victims = self.lock().set_fault(zone, fault);
        // Kill all nodes before the first await: when the client disconnects, hyper drops this future at an await.
        let killed: Vec<_> = victims.iter().map(Handle::kill).collect();
        killed.into_iter().collect::<Result<(), _>>()?;
        for victim in victims {
            victim.wait_until_gone().await?;
        }
        Ok(Zone {
            name: zone.to_owned(),
            fault,
        })
    }
}

impl Inner {
    /// Sets or clears the fault of a zone, and returns the nodes that it kills.
    fn set_fault(&mut self, zone: &str, fault: Option<Fault>) -> Vec<Handle> {
        match fault {
            Some(fault) => self.faults.insert(zone.to_owned(), fault),
            None => self.faults.remove(zone),
        };
        if fault != Some(Fault::Down) {
            return Vec::new();
        }
        let nodes = self.nodes.values();
        nodes
            .filter(|record| record.node.request.zone == zone)
            .map(|record| record.handle.clone())
            .collect()
    }

    /// The number of the next node: the last part of its address.
    fn free_number(&self) -> Option<u8> {
        let numbers = ADDED_NODES.count();
        ADDED_NODES
            .cycle()
            .skip(self.launches % numbers)
            .take(numbers)
            .find(|number| self.nodes.values().all(|record| record.number != *number))
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};
    use std::time::Duration;

    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    use tokio::time::timeout;

    use super::*;

    type Sender = watch::Sender<Option<Result<(), String>>>;

    /// A fleet with nodes in `testbed-a`, whose first processes sleep, and what these nodes report.
    fn fleet(names: &[&str]) -> (Fleet, Vec<(Child, Sender)>) {
        let fleet = Fleet::default();
        let started = ADDED_NODES.zip(names).map(|(number, name)| {
            let process = Command::new("sleep").arg("60").spawn().unwrap();
            let (sender, gone) = watch::channel(None);
            let pidfd = pidfd_open(Pid::from_child(&process), PidfdFlags::empty()).unwrap();
            let node = Node {
                request: NewNode {
                    name: (*name).to_owned(),
                    zone: ZONES[0].to_owned(),
                    instance_type: "small".to_owned(),
                    labels: [].into(),
                    taints: Vec::new(),
                },
                provider_id: String::new(),
                address: String::new(),
                state: State::Joined,
                message: String::new(),
                process: 0,
                created: String::new(),
            };
            let record = Record {
                node,
                number,
                handle: Handle {
                    process: Arc::new(pidfd),
                    gone,
                },
            };
            fleet.lock().nodes.insert((*name).to_owned(), record);
            (process, sender)
        });
        let started = started.collect();
        (fleet, started)
    }

    #[tokio::test]
    async fn a_zone_that_fails_kills_all_its_nodes_even_if_the_client_disconnects() {
        let (fleet, started) = fleet(&["one", "two"]);
        let failing = fleet.set_fault(ZONES[0], Some(Fault::Down));
        // No node reports that it is gone.
        timeout(Duration::from_millis(1), failing).await.unwrap_err();
        for (mut process, _) in started {
            assert!(!process.wait().unwrap().success());
        }
        assert_eq!(fleet.zones()[0].fault, Some(Fault::Down));
    }

    #[tokio::test]
    async fn a_failed_clean_up_is_a_failed_removal() {
        let (fleet, mut started) = fleet(&["clean", "unclean", "panicked"]);
        let (mut panicked, sender) = started.pop().unwrap();
        drop(sender);
        started[0].1.send(Some(Ok(()))).unwrap();
        started[1]
            .1
            .send(Some(Err("the cgroup is busy".to_owned())))
            .unwrap();
        assert_eq!(fleet.remove("clean").await.unwrap().request.name, "clean");
        for (name, expected) in [("unclean", "the cgroup is busy"), ("panicked", "panicked")] {
            match fleet.remove(name).await {
                Err(Refusal::Failed(error)) => assert!(error.to_string().contains(expected), "{error}"),
                other => panic!("{name}: {other:?}"),
            }
        }
        assert!(matches!(fleet.remove("missing").await, Err(Refusal::NoNode)));
        panicked.wait().unwrap();
        for (process, _) in &mut started {
            process.wait().unwrap();
        }
    }
}
