//! The nodes of the fake cluster, which come and go with the pods, as Karpenter or a cluster-autoscaler makes them.

use std::{collections::BTreeMap, iter};

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::responses::{event_list, failure, ok};

/// The number of pods that are there before the load, on the first node.
const INITIAL_PODS: usize = 2;

/// The number of pods that fit on a new node.
const PODS_PER_NODE: usize = 2;

/// The ages of a node, in ticks, when its removal begins, when its `NodeClaim` is gone, and when it is gone itself. The
/// `NodeClaim` is gone first for longer than a read of the nodes takes.
const DELETED: u32 = 100;
const CLAIM_GONE: u32 = 102;
const NODE_GONE: u32 = 107;

/// The zones of the new nodes, in turn.
const ZONES: [&str; 2] = ["zone-b", "zone-c"];

/// The node autoscaler of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FakeAutoscaler {
    None,
    Karpenter,
    /// Karpenter's API without a `NodePool`.
    KarpenterWithoutPool,
    /// Karpenter's API before its version v1.
    OldKarpenter,
    ClusterAutoscaler,
}

/// A fault of the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeFault {
    None,
    /// The second node never joins.
    Stuck,
    /// All new nodes are in one zone.
    OneZone,
    /// The last pod gets no node, although there is room.
    PendingPod,
    /// The last node stays.
    NotRemoved,
    /// Nobody reports an event.
    Silent,
}

/// A new node. Each time is when it reached the stage.
#[derive(Clone, Debug)]
struct FakeNode {
    name: String,
    /// The name of the `NodeClaim`.
    claim: String,
    zone: &'static str,
    age: u32,
    claimed: Timestamp,
    launched: Option<Timestamp>,
    joined: Option<Timestamp>,
    ready: Option<Timestamp>,
    deleted: Option<Timestamp>,
}

/// The nodes of the cluster, one of them from before the load.
#[derive(Clone, Debug)]
pub(crate) struct FakeNodes {
    pub(crate) autoscaler: FakeAutoscaler,
    pub(crate) fault: NodeFault,
    added: Vec<FakeNode>,
    created: BTreeMap<usize, Timestamp>,
    scheduled: BTreeMap<usize, Timestamp>,
    /// The namespace and the object of each event.
    events: Vec<(&'static str, Value)>,
    /// The number of nodes that were ever added.
    count: usize,
}

fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap()
}

impl FakeNodes {
    pub(crate) fn new(autoscaler: FakeAutoscaler, fault: NodeFault) -> Self {
        Self {
            autoscaler,
            fault,
            added: Vec::new(),
            created: (0..INITIAL_PODS).map(|pod| (pod, now())).collect(),
            scheduled: (0..INITIAL_PODS).map(|pod| (pod, now())).collect(),
            events: Vec::new(),
            count: 0,
        }
    }

    /// Lets 300 ms pass with this number of pods.
    pub(crate) fn tick(&mut self, pods: usize) {
        let needed = pods.saturating_sub(INITIAL_PODS).div_ceil(PODS_PER_NODE);
        self.created.retain(|pod, _| *pod < pods);
        self.scheduled.retain(|pod, _| *pod < pods);
        for pod in 0..pods {
            self.created.entry(pod).or_insert_with(now);
        }
        while self.added.len() < needed {
            let zone = if self.fault == NodeFault::OneZone {
                0
            } else {
                self.count % ZONES.len()
            };
            let claim = format!("default-{}", self.count);
            self.report(
                "sample-app",
                "Pod",
                &format!("app-a-5d8f7-{}", pods - 1),
                ("Nominated", "TriggeredScaleUp"),
                &format!("Pod should schedule on: nodeclaim/{claim}"),
            );
            self.added.push(FakeNode {
                name: format!("ip-10-0-0-{}", self.count),
                claim,
                zone: ZONES[zone],
                age: 0,
                claimed: now(),
                launched: None,
                joined: None,
                ready: None,
                deleted: None,
            });
            self.count += 1;
        }
        self.age();
        if needed == 0 {
            self.remove();
        }
        for pod in INITIAL_PODS..pods {
            let is_held_back = self.fault == NodeFault::PendingPod && pod == pods - 1;
            if self.node_of_slot(pod).is_some_and(|node| node.ready.is_some()) && !is_held_back {
                self.scheduled.entry(pod).or_insert_with(now);
            }
        }
    }

    fn age(&mut self) {
        let mut reached = Vec::new();
        let fault = self.fault;
        for (number, node) in self.added.iter_mut().enumerate() {
            node.age += 1;
            if fault == NodeFault::Stuck && number == 1 && node.age > 2 {
                continue;
            }
            let (slot, reason) = match node.age {
                2 => (&mut node.launched, "Launched"),
                4 => (&mut node.joined, "Registered"),
                6 => (&mut node.ready, "Initialized"),
                _ => continue,
            };
            *slot = Some(now());
            reached.push((node.claim.clone(), reason));
        }
        for (name, reason) in reached {
            self.report(
                "default",
                "NodeClaim",
                &name,
                (reason, "ScaledUpGroup"),
                "Status: Unknown -> True",
            );
        }
    }

    fn remove(&mut self) {
        let names: Vec<String> = self
            .added
            .iter()
            .filter(|node| node.deleted.is_none())
            .map(|node| node.name.clone())
            .collect();
        for name in names {
            self.report(
                "default",
                "Node",
                &name,
                ("DisruptionTerminating", "ScaleDown"),
                "Disrupting Node: Empty",
            );
        }
        for node in &mut self.added {
            if node.deleted.is_none() {
                node.deleted = Some(now());
                node.age = DELETED;
            }
        }
        let last = self.added.len().saturating_sub(1);
        let mut number = 0;
        let fault = self.fault;
        self.added.retain(|node| {
            let stays = fault == NodeFault::NotRemoved && number == last;
            number += 1;
            node.age < NODE_GONE || stays
        });
    }

    /// Records an event with the reason of Karpenter or of cluster-autoscaler.
    fn report(&mut self, namespace: &'static str, kind: &str, name: &str, reasons: (&str, &str), note: &str) {
        let (reporter, reason) = match self.autoscaler {
            FakeAutoscaler::ClusterAutoscaler => ("cluster-autoscaler", reasons.1),
            _ => ("karpenter", reasons.0),
        };
        if self.fault == NodeFault::Silent {
            return;
        }
        let id = format!("{name}.{reason}.{}", self.events.len());
        self.events.push((
            namespace,
            json!({"metadata": {"name": id, "uid": id, "namespace": namespace}, "eventTime": null, "type": "Normal",
                "deprecatedLastTimestamp": Timestamp::now().to_string(), "reason": reason, "note": note,
                "regarding": {"kind": kind, "name": name}, "reportingController": reporter}),
        ));
    }

    fn node_of_slot(&self, pod: usize) -> Option<&FakeNode> {
        self.added.get(pod.checked_sub(INITIAL_PODS)? / PODS_PER_NODE)
    }

    /// Returns whether a pod has a node.
    pub(crate) fn is_placed(&self, pod: usize) -> bool {
        self.scheduled.contains_key(&pod)
    }

    /// Returns the node of a pod.
    pub(crate) fn node_of(&self, pod: usize) -> Option<String> {
        self.scheduled.get(&pod)?;
        match self.node_of_slot(pod) {
            _ if pod < INITIAL_PODS => Some("node-a".to_owned()),
            node => Some(node?.name.clone()),
        }
    }

    /// Returns the creation time of a pod, and its condition `PodScheduled`.
    pub(crate) fn pod_times(&self, pod: usize) -> (Value, Value) {
        let created = self.created.get(&pod).map(Timestamp::to_string);
        let condition = match self.scheduled.get(&pod) {
            Some(at) => {
                json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": at.to_string()})
            }
            None => json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "message": "0/1 nodes are available: 1 Insufficient cpu."}),
        };
        (json!(created), condition)
    }

    pub(crate) fn node_list(&self) -> Value {
        let node = |name: &str, zone: &str, node: Option<&FakeNode>| {
            let ready = node.is_none_or(|node| node.ready.is_some());
            let times = |time: Option<Timestamp>| time.map(|time| time.to_string());
            let taint = match self.autoscaler {
                FakeAutoscaler::ClusterAutoscaler => "ToBeDeletedByClusterAutoscaler",
                _ => "karpenter.sh/disrupted",
            };
            let is_leaving = node.is_some_and(|node| node.deleted.is_some());
            let taints: Vec<Value> = is_leaving
                .then(|| json!({"key": taint, "effect": "NoSchedule"}))
                .into_iter()
                .collect();
            json!({"metadata": {"name": name, "creationTimestamp": times(node.and_then(|node| node.joined)),
                    "labels": {"topology.kubernetes.io/zone": zone, "node.kubernetes.io/instance-type": "small"}},
                "spec": {"taints": taints},
                "status": {"conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" },
                    "lastTransitionTime": times(node.and_then(|node| node.ready))}]}})
        };
        let added = self.added.iter().filter(|added| added.joined.is_some());
        let added = added.map(|added| node(&added.name, added.zone, Some(added)));
        let first = [node("node-a", "zone-a", None)];
        json!({"apiVersion": "v1", "kind": "NodeList", "metadata": {}, "items": first.into_iter().chain(added).collect::<Vec<_>>()})
    }

    pub(crate) fn claim_list(&self) -> Value {
        let claim = |node: &FakeNode| {
            let condition = |kind: &str, since: Option<Timestamp>| {
                json!({"type": kind, "status": if since.is_some() { "True" } else { "Unknown" }, "reason": kind,
                    "message": if since.is_some() { "" } else { "Node not registered with cluster" },
                    "lastTransitionTime": since.unwrap_or(node.claimed).to_string()})
            };
            let labels: BTreeMap<&str, &str> = node
                .launched
                .map(|_| ("topology.kubernetes.io/zone", node.zone))
                .into_iter()
                .collect();
            json!({"apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
                "metadata": {"name": node.claim, "creationTimestamp": node.claimed.to_string(),
                    "deletionTimestamp": node.deleted.map(|at| at.to_string()),
                    "labels": labels}, "spec": {"nodeClassRef": {"group": "karpenter.testbed.local", "kind": "TestbedNodeClass", "name": "default"}},
                "status": {"nodeName": node.joined.map(|_| node.name.as_str()).unwrap_or_default(), "conditions": [condition("Launched", node.launched),
                    condition("Registered", node.joined), condition("Initialized", node.ready)]}})
        };
        let since = Some(Timestamp::UNIX_EPOCH);
        let first = FakeNode {
            name: "node-a".to_owned(),
            claim: "default-first".to_owned(),
            zone: "zone-a",
            age: 0,
            claimed: Timestamp::UNIX_EPOCH,
            launched: since,
            joined: since,
            ready: since,
            deleted: None,
        };
        let added = self.added.iter().filter(|node| node.age < CLAIM_GONE);
        let claims: Vec<Value> = iter::once(&first).chain(added).map(claim).collect();
        json!({"apiVersion": "karpenter.sh/v1", "kind": "NodeClaimList", "metadata": {}, "items": claims})
    }

    pub(crate) fn events(&self, namespace: &str) -> Value {
        let events: Vec<Value> = self
            .events
            .iter()
            .filter(|(other, _)| *other == namespace)
            .map(|(_, event)| event.clone())
            .collect();
        event_list(&events)
    }

    /// Returns the response about the autoscaler; `None` for another path.
    pub(crate) fn answer(&self, path: &str) -> Option<(StatusCode, Value)> {
        let has_api = matches!(
            self.autoscaler,
            FakeAutoscaler::Karpenter | FakeAutoscaler::KarpenterWithoutPool
        );
        let mut groups = vec![("apps", "v1")];
        match self.autoscaler {
            FakeAutoscaler::OldKarpenter => groups.push(("karpenter.sh", "v1beta1")),
            _ if has_api => groups.push(("karpenter.sh", "v1")),
            _ => {}
        }
        let kinds = |names: &[(&str, &str)]| -> Vec<Value> {
            let kind = |(name, kind): &(&str, &str)| json!({"name": name, "kind": kind, "singularName": "", "namespaced": false, "verbs": ["list", "watch"]});
            names.iter().map(kind).collect()
        };
        Some(match path {
            "/apis" => ok(
                json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups.iter().map(|(name, version)| {
                let version = json!({"groupVersion": format!("{name}/{version}"), "version": version});
                json!({"name": name, "versions": [version], "preferredVersion": version})
            }).collect::<Vec<_>>()}),
            ),
            "/apis/karpenter.sh/v1" if has_api => ok(json!({"kind": "APIResourceList", "apiVersion": "v1",
                "groupVersion": "karpenter.sh/v1",
                "resources": kinds(&[("nodeclaims", "NodeClaim"), ("nodepools", "NodePool"), ("nodepools/status", "NodePool")])})),
            "/apis/karpenter.sh/v1/nodepools" if has_api => {
                let pool = json!({"metadata": {"name": "default"}, "spec": {
                        "disruption": {"consolidationPolicy": "WhenEmptyOrUnderutilized", "consolidateAfter": "30s"},
                        "template": {"spec": {"requirements": [
                            {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["zone-a", "zone-b", "zone-c"]}]}}},
                    "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Ready", "message": "",
                        "lastTransitionTime": "2026-01-15T08:00:00Z"}]}});
                let pools = if self.autoscaler == FakeAutoscaler::Karpenter {
                    vec![pool]
                } else {
                    Vec::new()
                };
                ok(
                    json!({"apiVersion": "karpenter.sh/v1", "kind": "NodePoolList", "metadata": {}, "items": pools}),
                )
            }
            "/apis/karpenter.sh/v1/nodeclaims" if has_api => ok(self.claim_list()),
            "/apis/apps/v1/namespaces/kube-system/deployments" => {
                let autoscaler = json!({"metadata": {"name": "cluster-autoscaler"}, "spec": {"selector": {}, "template": {
                    "spec": {"containers": [{"name": "cluster-autoscaler", "command": ["./cluster-autoscaler",
                        "--scale-down-unneeded-time=1m", "--scale-down-delay-after-add=2m"]}]}}}});
                let is_there = self.autoscaler == FakeAutoscaler::ClusterAutoscaler;
                let items = if is_there { vec![autoscaler] } else { Vec::new() };
                ok(json!({"apiVersion": "apps/v1", "kind": "DeploymentList", "metadata": {}, "items": items}))
            }
            "/api/v1/namespaces/kube-system/configmaps/cluster-autoscaler-status" => {
                failure(StatusCode::NOT_FOUND, "not found")
            }
            "/api/v1/nodes" => ok(self.node_list()),
            _ => {
                let namespace = path
                    .strip_prefix("/apis/events.k8s.io/v1/namespaces/")?
                    .strip_suffix("/events")?;
                ok(self.events(namespace))
            }
        })
    }
}
