//! Network policies: whether those among the manifests let the pods of one workload connect to the pods of another.
//!
//! <https://kubernetes.io/docs/concepts/services-networking/network-policies/>

use std::collections::BTreeMap;

use serde_json::Value;
use wiring::Link;

use crate::{
    notes::Notes,
    objects::{find, labels, list, matches_selector, namespace, of_kind, pod_template, resolve_port, title},
};

/// A TCP port of the pods of a workload.
#[derive(Clone, Copy, Debug)]
pub struct Port<'objects> {
    /// The workload.
    pub of: &'objects Value,
    /// The number of the port.
    pub number: u64,
}

/// One of the two directions in which a policy isolates its pods.
struct Direction {
    policy_type: &'static str,
    rules: &'static str,
    peers: &'static str,
}

const EGRESS: Direction = Direction {
    policy_type: "Egress",
    rules: "/spec/egress",
    peers: "/to",
};

const INGRESS: Direction = Direction {
    policy_type: "Ingress",
    rules: "/spec/ingress",
    peers: "/from",
};

impl Port<'_> {
    /// Returns why the policies refuse a connection from the pods of the workload `from`, or `None` if they allow it. `contains`
    /// says whether an `ipBlock` contains the address of a pod, which manifests do not state.
    #[must_use]
    pub fn refuses(
        &self,
        objects: &[Value],
        from: &Value,
        contains: impl Fn(&Value) -> bool,
    ) -> Option<String> {
        [(EGRESS, from, self.of), (INGRESS, self.of, from)]
            .into_iter()
            .find_map(|(direction, isolated, peer)| {
                let policies: Vec<_> = isolating(objects, &direction, isolated).collect();
                let allows = |rule: &Value| {
                    self.is_in(rule) && is_peer_of(objects, rule, &direction, (isolated, peer), &contains)
                };
                let mut rules = policies.iter().flat_map(|policy| list(policy, direction.rules));
                if policies.is_empty() || rules.any(allows) {
                    return None;
                }
                let titles: Vec<_> = policies.iter().map(|policy| title(policy)).collect();
                Some(format!(
                    "no {} rule of {} lets the pods of {} connect to port {} of {}",
                    direction.policy_type.to_lowercase(),
                    titles.join(", "),
                    title(from),
                    self.number,
                    title(self.of)
                ))
            })
    }

    /// Notes a link that the policies break. Only warns if they depend on the addresses of the pods.
    pub(crate) fn check_from(&self, objects: &[Value], from: &Value, link: Link, notes: &mut Notes) {
        let Some(reason) = self.refuses(objects, from, |_| false) else {
            return;
        };
        if self.refuses(objects, from, |_| true).is_some() {
            notes.broken(link, reason);
        } else {
            notes.warn(
                link,
                format!("{reason}, unless an ipBlock contains their addresses"),
            );
        }
    }

    /// Whether a rule applies to the port.
    fn is_in(&self, rule: &Value) -> bool {
        let template = pod_template(self.of).unwrap_or(&Value::Null);
        let ports = list(rule, "/ports");
        ports.is_empty()
            || ports.iter().any(|entry| {
                let is_tcp = entry["protocol"]
                    .as_str()
                    .is_none_or(|protocol| protocol == "TCP");
                is_tcp
                    && match (&entry["port"], entry["endPort"].as_u64()) {
                        (Value::Null, _) => true,
                        (name @ Value::String(_), _) => resolve_port(template, name) == Some(self.number),
                        (first, last) => first
                            .as_u64()
                            .is_some_and(|first| (first..=last.unwrap_or(first)).contains(&self.number)),
                    }
            })
    }
}

/// Returns the labels of the pods of a workload.
fn labels_of_pods(workload: &Value) -> BTreeMap<String, String> {
    pod_template(workload).map_or_else(BTreeMap::new, |template| labels(template, "/metadata/labels"))
}

/// Returns the policies that isolate the pods of a workload in a direction.
fn isolating<'objects>(
    objects: &'objects [Value],
    direction: &'objects Direction,
    workload: &'objects Value,
) -> impl Iterator<Item = &'objects Value> {
    of_kind(objects, "NetworkPolicy").filter(move |policy| {
        let types = list(policy, "/spec/policyTypes");
        let is_isolating = if types.is_empty() {
            // The default: always Ingress, and Egress if there are rules for it.
            direction.policy_type == INGRESS.policy_type || policy.pointer(direction.rules).is_some()
        } else {
            types.iter().any(|found| found == direction.policy_type)
        };
        is_isolating
            && namespace(policy) == namespace(workload)
            && matches_selector(policy, "/spec/podSelector", &labels_of_pods(workload))
    })
}

/// Whether a rule of the policies of `isolated` applies to `peer`.
fn is_peer_of(
    objects: &[Value],
    rule: &Value,
    direction: &Direction,
    (isolated, peer): (&Value, &Value),
    contains: impl Fn(&Value) -> bool,
) -> bool {
    let peers = list(rule, direction.peers);
    let of = namespace(peer);
    peers.is_empty()
        || peers.iter().any(|entry| {
            if let Some(block) = entry.get("ipBlock") {
                return contains(block);
            }
            let is_in_namespace = if entry.get("namespaceSelector").is_some() {
                matches_selector(entry, "/namespaceSelector", &labels_of_namespace(objects, of))
            } else {
                of == namespace(isolated)
            };
            is_in_namespace && matches_selector(entry, "/podSelector", &labels_of_pods(peer))
        })
}

/// Returns the labels of a namespace, with the one that Kubernetes sets.
fn labels_of_namespace(objects: &[Value], name: &str) -> BTreeMap<String, String> {
    let mut found = find(objects, "Namespace", "", name)
        .map(|object| labels(object, "/metadata/labels"))
        .unwrap_or_default();
    found.insert("kubernetes.io/metadata.name".to_owned(), name.to_owned());
    found
}
