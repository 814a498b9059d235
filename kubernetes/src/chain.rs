//! The static check of the metrics chain, from a binary's `/metrics` to the HPA that scales on it.
//!
//! A link connects two files, and no other check finds a contradiction between them. When a link breaks, the cluster shows
//! only `<unknown>` in a column of the HPA, or nothing. The check therefore follows the chain as the components do:
//! Prometheus' discovery and relabelling, the metric names of the adapter, RBAC, and the certificate that the API server
//! verifies.

pub mod adapter;
pub mod broken_link;
pub mod component;
pub mod exposition;
pub mod scrape;
pub mod trust;

use crate::{
    objects::{self, namespace, of_kind, text, title},
    permissions::{Account, Action, allowed},
};
use adapter::Adapter;
use broken_link::BrokenLink;
use exposition::Exposition;
use scrape::{Prometheus, Target};
use serde_json::Value;
use std::collections::BTreeSet;
use wiring::Link;

/// Follows the chain from the `/metrics` page of a fresh process to every HPA that scales on a `Pods` metric. Returns the
/// broken links.
#[must_use]
pub fn check(metrics_text: &str, objects: &[Value]) -> Vec<BrokenLink> {
    let exposition = match Exposition::parse(metrics_text) {
        Ok(exposition) => exposition,
        Err(error) => {
            let reason = format!("/metrics does not follow the text format: {error}");
            return vec![BrokenLink::new(Link::ServiceMetric, reason)];
        }
    };
    let prometheus = match Prometheus::find(objects) {
        Ok(prometheus) => prometheus,
        Err(reason) => return vec![BrokenLink::new(Link::PrometheusScrape, reason)],
    };
    let adapter = match Adapter::find(objects) {
        Ok(adapter) => adapter,
        Err(reason) => return vec![BrokenLink::new(Link::AdapterRule, reason)],
    };

    let mut broken = BTreeSet::new();
    let mut labels: Option<BTreeSet<String>> = None;
    for (hpa, metric) in pods_metrics(objects) {
        match target(objects, &prometheus, hpa) {
            // Keeps only the labels that every target has, because each rule applies to all targets.
            Ok(target) => {
                let of_target = target.labels.into_keys().collect::<BTreeSet<_>>();
                labels = Some(labels.map_or(of_target.clone(), |labels| &labels & &of_target));
            }
            Err(reason) => {
                broken.insert(BrokenLink::new(Link::PrometheusScrape, reason));
            }
        }
        broken.extend(check_metric_name(&adapter, &exposition, hpa, metric));
        broken.extend(check_permissions(objects, &prometheus, &adapter, namespace(hpa)));
    }
    broken.extend(adapter.check_rules(&exposition, labels.as_ref(), prometheus.scrape_interval()));
    broken.extend(adapter.check_connection(objects, &prometheus));
    broken.extend(trust::check(objects, &adapter));
    broken.into_iter().collect()
}

/// Returns each HPA with each of its `Pods` metrics.
fn pods_metrics(objects: &[Value]) -> impl Iterator<Item = (&Value, &str)> {
    of_kind(objects, "HorizontalPodAutoscaler").flat_map(|hpa| {
        let metrics = objects::list(hpa, "/spec/metrics").iter();
        metrics
            .filter(|metric| text(metric, "/type") == "Pods")
            .map(move |metric| (hpa, text(metric, "/pods/metric/name")))
    })
}

/// Returns the scrape target of each pod that the HPA scales.
fn target(objects: &[Value], prometheus: &Prometheus<'_>, hpa: &Value) -> Result<Target, String> {
    let (kind, target_name) = (
        text(hpa, "/spec/scaleTargetRef/kind"),
        text(hpa, "/spec/scaleTargetRef/name"),
    );
    let workload = objects::find(objects, kind, namespace(hpa), target_name)
        .ok_or_else(|| format!("{} scales {kind} {target_name}, which does not exist", title(hpa)))?;
    let mut targets = prometheus.targets(workload)?;
    match (targets.pop(), targets.len()) {
        (Some(target), 0) => Ok(target),
        (_, others) => Err(format!(
            "Prometheus would scrape each pod of {} {} times",
            title(workload),
            others + 1
        )),
    }
}

fn check_metric_name(
    adapter: &Adapter<'_>,
    exposition: &Exposition,
    hpa: &Value,
    metric: &str,
) -> Option<BrokenLink> {
    let offered = adapter.metric_names(exposition);
    (!offered.contains(metric)).then(|| {
        let offered = offered.into_iter().collect::<Vec<_>>().join(", ");
        BrokenLink::new(
            Link::AdapterRule,
            format!("{} scales on {metric}; the rules offer {offered}", title(hpa)),
        )
    })
}

fn check_permissions(
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
        // The API serves a metric of a pod as a subresource.
        resource: "pods/anything",
        name: None,
        namespace: Some(in_namespace),
    };
    let hpa_controller = Account {
        namespace: "kube-system",
        name: "horizontal-pod-autoscaler",
    };
    let mut needed = vec![
        (Link::PodSamples, adapter.component.account(), pods("list")),
        (Link::HpaActive, hpa_controller, custom_metrics),
    ];
    let scrape = |verb| (Link::PrometheusScrape, prometheus.component.account(), pods(verb));
    needed.extend(["get", "list", "watch"].map(scrape));
    needed
        .into_iter()
        .filter(|(_, account, action)| !allowed(objects, *account, *action))
        .map(|(link, account, action)| {
            let Action {
                verb,
                group,
                resource,
                ..
            } = action;
            let account = format!("{}/{}", account.namespace, account.name);
            BrokenLink::new(
                link,
                format!("{account} may not {verb} {resource} {group} in {in_namespace}"),
            )
        })
        .collect()
}
