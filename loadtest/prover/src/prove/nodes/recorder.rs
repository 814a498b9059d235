//! Records the nodes of a run and the pods on them, one read per second from watches.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use jiff::Timestamp;

use super::{
    super::{estimate::TimeEstimate, observe::Observation, timeline::Phase},
    moment::{Moment, Origin, Read},
    plan::{AutoscalerKind, NodesPlan},
    record::{NodeCount, NodeLife, NodesRecord, PodPlacement},
    settled::unsettled,
};
use crate::cluster::{ClaimState, Cluster, NodeState, PodState, ReadError, Watch};

/// The life of a node, with the times as they were observed.
#[derive(Debug, Default)]
struct Life {
    recorded: NodeLife,
    claimed: Option<Moment>,
    launched: Option<Moment>,
    registered: Option<Moment>,
    joined: Option<Moment>,
    ready: Option<Moment>,
    initialized: Option<Moment>,
    not_ready: Option<Moment>,
    leaving: Option<Moment>,
    gone: Option<Moment>,
}

/// The placement of a pod, with the times as they were observed.
#[derive(Debug, Default)]
struct Placement {
    recorded: PodPlacement,
    created: Option<Moment>,
    placed: Option<Moment>,
    gone: Option<Moment>,
}

/// Records the nodes and the pods of the HPAs.
pub(in super::super) struct NodeRecorder {
    plan: NodesPlan,
    claims: Option<Watch<ClaimState>>,
    /// The start of the last complete read.
    began: Instant,
    /// The end of the last complete read.
    ended: Instant,
    /// The names of the nodes and of the `NodeClaim`s before the load.
    initial: BTreeSet<String>,
    /// The `NodeClaim` of each node, by the name of the node. Kept when the `NodeClaim` is gone, which may be before the node.
    claim_of: HashMap<String, String>,
    before: NodeCount,
    now: NodeCount,
    most_ready: usize,
    ready_by_zone: BTreeMap<String, usize>,
    back: Option<Instant>,
    unsettled: Option<String>,
    /// By the name of the `NodeClaim`, or of the node if it has none.
    lives: BTreeMap<String, Life>,
    /// By the name of the pod.
    pods: HashMap<String, Placement>,
}

impl NodeRecorder {
    pub(in super::super) fn start(cluster: &Cluster, plan: &NodesPlan) -> Self {
        let is_karpenter = plan.autoscaler == AutoscalerKind::Karpenter;
        Self::new(plan.clone(), is_karpenter.then(|| cluster.watch_node_claims()))
    }

    fn new(plan: NodesPlan, claims: Option<Watch<ClaimState>>) -> Self {
        let now = Instant::now();
        Self {
            plan,
            claims,
            began: now,
            ended: now,
            initial: BTreeSet::new(),
            claim_of: HashMap::new(),
            before: NodeCount::default(),
            now: NodeCount::default(),
            most_ready: 0,
            ready_by_zone: BTreeMap::new(),
            back: None,
            unsettled: None,
            lives: BTreeMap::new(),
            pods: HashMap::new(),
        }
    }

    /// Records a read of the cluster that began at `began`. Returns the error if the nodes or the `NodeClaim`s cannot be read:
    /// then nothing is recorded, because a missing object would count as gone.
    pub(in super::super) async fn record(
        &mut self,
        phase: Phase,
        began: Instant,
        found: &Observation,
    ) -> Result<(), ReadError> {
        let claims = match &self.claims {
            Some(claims) => claims.objects().await,
            None => Ok(Vec::new()),
        };
        let claims = claims.map_err(|ReadError(error)| ReadError(format!("NodeClaims: {error}")));
        let nodes = found.nodes.as_deref();
        let nodes = nodes.map_err(|ReadError(error)| ReadError(format!("nodes: {error}")));
        match nodes.and_then(|nodes| Ok((nodes, claims?))) {
            Ok((nodes, claims)) => {
                let read = Read {
                    after: self.began,
                    by: Instant::now(),
                };
                self.began = began;
                self.apply(read, phase, nodes, &claims, &found.pods);
                Ok(())
            }
            Err(error) => {
                if phase == Phase::Settling {
                    self.unsettled = Some(error.0.clone());
                }
                Err(error)
            }
        }
    }

    fn apply(
        &mut self,
        read: Read,
        phase: Phase,
        nodes: &[Arc<NodeState>],
        claims: &[Arc<ClaimState>],
        pods: &BTreeMap<String, Vec<Arc<PodState>>>,
    ) {
        self.ended = read.by;
        self.now = NodeCount {
            nodes: nodes.len(),
            claims: claims.len(),
        };
        if phase == Phase::Settling {
            let names = nodes.iter().map(|node| &node.name);
            self.initial = names
                .chain(claims.iter().map(|claim| &claim.name))
                .cloned()
                .collect();
            self.before = self.now;
            self.unsettled = unsettled(nodes, claims);
            self.claim_of.clear();
            self.lives.clear();
            self.pods.clear();
        }
        if is_step(phase) {
            self.count_ready(nodes);
        }
        self.record_claims(read, claims);
        self.record_nodes(read, phase, nodes, claims);
        for (hpa, pods) in pods {
            self.record_pods(read, phase, hpa, pods);
        }
        if phase == Phase::RemovingNodes && self.is_back() {
            self.back.get_or_insert(read.by);
        }
    }

    /// Returns whether no node is coming or going, and all are ready.
    pub(in super::super) fn is_settled(&self) -> bool {
        self.unsettled.is_none()
    }

    /// Returns whether there are no more nodes than before the load.
    pub(in super::super) fn is_back(&self) -> bool {
        self.now.is_within(self.before)
    }

    fn count_ready(&mut self, nodes: &[Arc<NodeState>]) {
        let ready = || nodes.iter().filter(|node| node.ready);
        self.most_ready = self.most_ready.max(ready().count());
        self.ready_by_zone.clear();
        for zone in ready().filter_map(|node| node.zone.as_ref()) {
            *self.ready_by_zone.entry(zone.clone()).or_default() += 1;
        }
    }

    fn record_claims(&mut self, read: Read, claims: &[Arc<ClaimState>]) {
        for claim in claims {
            if let Some(node) = &claim.node
                && self.claim_of.get(node) != Some(&claim.name)
            {
                self.claim_of.insert(node.clone(), claim.name.clone());
            }
            if self.initial.contains(&claim.name) {
                continue;
            }
            // The node may have been seen before its NodeClaim named it.
            let early = claim.node.as_ref().filter(|node| **node != claim.name);
            let early = early.and_then(|node| self.lives.remove(node));
            let life = self.lives.entry(claim.name.clone()).or_default();
            if let Some(early) = early {
                (life.joined, life.ready) = (life.joined.or(early.joined), life.ready.or(early.ready));
            }
            life.recorded.is_new = true;
            life.recorded.claim = Some(claim.name.clone());
            life.recorded
                .name
                .clone_from(claim.node.as_ref().unwrap_or(&claim.name));
            set(&mut life.recorded.zone, claim.zone.as_ref());
            set(&mut life.recorded.instance_type, claim.instance_type.as_ref());
            set(&mut life.recorded.problem, claim.problem.as_ref());
            life.claimed.get_or_insert(read.of(claim.created));
            for (stage, reached) in [
                (&mut life.launched, claim.launched),
                (&mut life.registered, claim.registered),
                (&mut life.initialized, claim.initialized),
                (&mut life.leaving, claim.deleted),
            ] {
                if reached.is_some() {
                    stage.get_or_insert(read.of(reached));
                }
            }
        }
    }

    fn record_nodes(
        &mut self,
        read: Read,
        phase: Phase,
        nodes: &[Arc<NodeState>],
        claims: &[Arc<ClaimState>],
    ) {
        let is_kept = |claim: &&Arc<ClaimState>| claim.deleted.is_none();
        let kept = claims.iter().filter(is_kept).map(|claim| &claim.name);
        let kept: HashSet<&String> = kept.collect();
        let mut existing: HashSet<&String> = claims.iter().map(|claim| &claim.name).collect();
        for node in nodes {
            let is_new = !self.initial.contains(&node.name);
            let claim = self.claim_of.get(&node.name);
            let key = claim.unwrap_or(&node.name);
            existing.insert(key);
            let life = if is_new {
                let life = self.lives.entry(key.clone()).or_default();
                life.recorded.is_new = true;
                life.joined.get_or_insert(read.of(node.created));
                life
            } else if let Some(life) = self.lives.get_mut(key) {
                life
            } else {
                continue;
            };
            node.name.clone_into(&mut life.recorded.name);
            set(&mut life.recorded.claim, claim);
            set(&mut life.recorded.zone, node.zone.as_ref());
            set(&mut life.recorded.instance_type, node.instance_type.as_ref());
            if node.leaving {
                life.leaving.get_or_insert(read.of(None));
            } else if claim.is_none_or(|claim| kept.contains(claim)) {
                // Karpenter takes its taint back if it cannot remove the node.
                life.leaving = None;
            }
            if node.ready {
                if is_new {
                    life.ready.get_or_insert(read.of(node.ready_since));
                }
                // A recovery after the step comes too late.
                if is_step(phase) {
                    life.not_ready = None;
                }
            } else if (life.ready.is_some() || !is_new) && life.leaving.is_none() {
                life.not_ready.get_or_insert(read.of(None));
            }
        }
        for (key, life) in &mut self.lives {
            if existing.contains(key) {
                // A kubelet may register its node again.
                life.gone = None;
            } else {
                life.gone.get_or_insert(read.of(None));
            }
        }
    }

    fn record_pods(&mut self, read: Read, phase: Phase, hpa: &str, pods: &[Arc<PodState>]) {
        for pod in pods {
            let is_initial = phase == Phase::Settling;
            let known = self.pods.entry(pod.name.clone());
            let placement = known.or_insert_with(|| Placement {
                recorded: PodPlacement {
                    hpa: hpa.to_owned(),
                    pod: pod.name.clone(),
                    ..PodPlacement::default()
                },
                created: (!is_initial).then(|| read.of(pod.created)),
                ..Placement::default()
            });
            let Some(node) = &pod.node else {
                set(
                    &mut placement.recorded.pending_reason,
                    pod.not_ready_reason.as_ref(),
                );
                continue;
            };
            if placement.recorded.node.is_none() {
                placement.recorded.node = Some(node.clone());
                placement.placed = (!is_initial).then(|| read.of(pod.scheduled));
                self.add_initial_node(node);
            }
        }
        let existing: HashSet<&str> = pods.iter().map(|pod| pod.name.as_str()).collect();
        for (name, placement) in &mut self.pods {
            if placement.recorded.hpa == hpa && !existing.contains(name.as_str()) {
                placement.gone.get_or_insert(read.of(None));
            }
        }
    }

    /// Adds a node from before the load that runs a pod. Its zone and type follow with the next read.
    fn add_initial_node(&mut self, name: &str) {
        if self.initial.contains(name) {
            let key = self.claim_of.get(name).map_or(name, String::as_str);
            let life = self.lives.entry(key.to_owned()).or_default();
            name.clone_into(&mut life.recorded.name);
        }
    }

    /// Ends the recording. All times count from the start of the load.
    pub(in super::super) fn finish(self, instant: Instant, timestamp: Option<Timestamp>) -> NodesRecord {
        let origin = Origin {
            instant,
            timestamp: timestamp.unwrap_or_else(Timestamp::now),
        };
        let time = |moment: Option<Moment>| Some(TimeEstimate::from(moment?.range(origin)));
        let seconds = |at: Instant| at.saturating_duration_since(origin.instant).as_secs_f64();
        let node = |life: Life| NodeLife {
            claimed: time(life.claimed),
            launched: time(life.launched),
            registered: time(life.registered.or(life.joined)),
            ready: time(life.ready),
            initialized: time(life.initialized),
            not_ready_since: time(life.not_ready),
            leaving: time(life.leaving),
            gone: time(life.gone),
            ..life.recorded
        };
        let pod = |placement: Placement| PodPlacement {
            created: time(placement.created),
            placed: time(placement.placed),
            gone: time(placement.gone),
            ..placement.recorded
        };
        let mut nodes: Vec<NodeLife> = self.lives.into_values().map(node).collect();
        let mut pods: Vec<PodPlacement> = self.pods.into_values().map(pod).collect();
        let first = f64::NEG_INFINITY;
        nodes.sort_by(|one, other| {
            let [one, other] = [one, other].map(|node| (node.began().unwrap_or(first), &node.name));
            one.0.total_cmp(&other.0).then(one.1.cmp(other.1))
        });
        pods.sort_by(|one, other| {
            let [one, other] =
                [one, other].map(|pod| (pod.created.map_or(first, |created| created.seconds), &pod.pod));
            one.0.total_cmp(&other.0).then(one.1.cmp(other.1))
        });
        NodesRecord {
            plan: self.plan,
            before: self.before,
            most_ready: self.most_ready,
            ready_by_zone: self.ready_by_zone,
            back: self.back.map(seconds),
            end: self.now,
            ended: seconds(self.ended),
            unsettled: self.unsettled,
            nodes,
            pods,
        }
    }
}

/// Returns whether the load of the step runs.
fn is_step(phase: Phase) -> bool {
    matches!(phase, Phase::ScalingUp | Phase::Plateau)
}

fn set(known: &mut Option<String>, found: Option<&String>) {
    if let Some(found) = found
        && known.as_ref() != Some(found)
    {
        *known = Some(found.clone());
    }
}

#[cfg(test)]
mod tests;
