//! The chain from a binary's `/metrics` to the HPA that scales on it, link by link.
//!
//! Each link joins two files that nothing else holds together, and when one breaks, the cluster says so only as
//! `<unknown>` in an HPA's column, or not at all. So it is followed here as the running parts would follow it:
//! Prometheus' discovery and relabelling, the adapter's naming of metrics, RBAC, and the API server's check of the
//! adapter's certificate.

pub mod adapter;
pub mod component;
pub mod exposition;
pub mod scrape;
pub mod trust;

use crate::{
    objects::{self, namespace, of_kind, text, title},
    permissions::{Account, Action, allowed},
};
use adapter::Adapter;
use exposition::Exposition;
use scrape::{Prometheus, Target};
use serde_json::Value;
use std::{collections::BTreeSet, fmt};

/// Where the chain can break, in the order in which a sample passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    /// The binary exports the series that the adapter's rules ask for.
    Exported,
    /// Prometheus finds every pod that an HPA scales, and scrapes it once.
    Scraped,
    /// Relabelling adds the labels by which the adapter knows the namespace and the pod.
    Labelled,
    /// The adapter reaches Prometheus, and its queries are such that Prometheus has an answer.
    Queried,
    /// A rule yields the metric under the name that the HPA asks for.
    Named,
    /// The API server reaches the adapter and can verify its certificate.
    Trusted,
    /// RBAC lets each part do what it has to.
    Permitted,
}

impl fmt::Display for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Exported => "binary -> adapter's rule",
            Self::Scraped => "Prometheus -> pods",
            Self::Labelled => "relabelling -> adapter's resources",
            Self::Queried => "adapter -> Prometheus",
            Self::Named => "adapter's rule -> HPA",
            Self::Trusted => "API server -> adapter",
            Self::Permitted => "RBAC",
        })
    }
}

/// A link that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BrokenLink {
    /// Which one.
    pub link: Link,
    /// What does not fit, both sides named.
    pub reason: String,
}

impl BrokenLink {
    fn new(link: Link, reason: impl Into<String>) -> Self {
        Self {
            link,
            reason: reason.into(),
        }
    }
}

impl fmt::Display for BrokenLink {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.link, self.reason)
    }
}

/// Follows the chain from a binary's `/metrics` (its text right after the start) to every HPA in the objects that scales on
/// a `Pods` metric. Empty when every link holds.
#[must_use]
pub fn check(metrics_text: &str, objects: &[Value]) -> Vec<BrokenLink> {
    let exposition = Exposition::parse(metrics_text);
    let prometheus = match Prometheus::find(objects) {
        Ok(prometheus) => prometheus,
        Err(reason) => return vec![BrokenLink::new(Link::Scraped, reason)],
    };
    let adapter = match Adapter::find(objects) {
        Ok(adapter) => adapter,
        Err(reason) => return vec![BrokenLink::new(Link::Queried, reason)],
    };

    let mut broken = BTreeSet::new();
    let mut labels: Option<BTreeSet<String>> = None;
    for (hpa, metric) in pods_metrics(objects) {
        match target(objects, &prometheus, hpa) {
            // What every target has, because the rules are the same for all.
            Ok(target) => {
                let of_target = target.labels.into_keys().collect::<BTreeSet<_>>();
                labels = Some(labels.map_or(of_target.clone(), |labels| &labels & &of_target));
            }
            Err(reason) => {
                broken.insert(BrokenLink::new(Link::Scraped, reason));
            }
        }
        broken.extend(named(&adapter, &exposition, hpa, metric));
        broken.extend(permitted(objects, &prometheus, &adapter, namespace(hpa)));
    }
    broken.extend(adapter.check_rules(&exposition, labels.as_ref(), prometheus.scrape_interval()));
    broken.extend(adapter.check_connection(objects, &prometheus));
    broken.extend(trust::check(objects, &adapter));
    broken.into_iter().collect()
}

/// Every HPA with each metric of its pods.
fn pods_metrics(objects: &[Value]) -> impl Iterator<Item = (&Value, &str)> {
    of_kind(objects, "HorizontalPodAutoscaler").flat_map(|hpa| {
        let metrics = objects::list(hpa, "/spec/metrics").iter();
        metrics
            .filter(|metric| text(metric, "/type") == "Pods")
            .map(move |metric| (hpa, text(metric, "/pods/metric/name")))
    })
}

/// The one target that each pod of the HPA's Deployment is to Prometheus.
fn target(objects: &[Value], prometheus: &Prometheus<'_>, hpa: &Value) -> Result<Target, String> {
    let (kind, called) = (
        text(hpa, "/spec/scaleTargetRef/kind"),
        text(hpa, "/spec/scaleTargetRef/name"),
    );
    let workload = objects::find(objects, kind, namespace(hpa), called)
        .ok_or_else(|| format!("{} scales {kind} {called}, which does not exist", title(hpa)))?;
    let mut targets = prometheus.targets(workload)?;
    match (targets.pop(), targets.len()) {
        (Some(target), 0) => Ok(target),
        (_, others) => Err(format!(
            "each pod of {} would be scraped {} times",
            title(workload),
            others + 1
        )),
    }
}

fn named(adapter: &Adapter<'_>, exposition: &Exposition, hpa: &Value, metric: &str) -> Option<BrokenLink> {
    let yielded = adapter.metric_names(exposition);
    (!yielded.contains(metric)).then(|| {
        let yielded = yielded.into_iter().collect::<Vec<_>>().join(", ");
        BrokenLink::new(
            Link::Named,
            format!("{} asks for {metric}; the rules yield {yielded}", title(hpa)),
        )
    })
}

fn permitted(
    objects: &[Value],
    prometheus: &Prometheus<'_>,
    adapter: &Adapter<'_>,
    in_namespace: &str,
) -> Vec<BrokenLink> {
    let pods = |verb| Action {
        verb,
        group: "",
        resource: "pods",
        name: None,
        namespace: Some(in_namespace),
    };
    let custom_metrics = Action {
        verb: "get",
        group: "custom.metrics.k8s.io",
        // What the HPA controller reads: a metric of a pod is a subresource to this API.
        resource: "pods/anything",
        name: None,
        namespace: Some(in_namespace),
    };
    let hpa_controller = Account {
        namespace: "kube-system",
        name: "horizontal-pod-autoscaler",
    };
    let mut needed = vec![
        (adapter.component.account(), pods("list")),
        (hpa_controller, custom_metrics),
    ];
    needed.extend(["get", "list", "watch"].map(|verb| (prometheus.component.account(), pods(verb))));
    needed
        .into_iter()
        .filter(|(account, action)| !allowed(objects, *account, *action))
        .map(|(account, action)| {
            let Action {
                verb,
                group,
                resource,
                ..
            } = action;
            let account = format!("{}/{}", account.namespace, account.name);
            BrokenLink::new(
                Link::Permitted,
                format!("{account} may not {verb} {resource} {group} in {in_namespace}"),
            )
        })
        .collect()
}
