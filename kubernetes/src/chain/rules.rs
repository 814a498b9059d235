//! Every rule of the adapter, also those that no HPA uses.

use std::{collections::BTreeSet, time::Duration};

use chain_check::{
    Exposition,
    adapter::{Adapter, Rules},
    objects::{self, namespace, of_kind, pod_template, text},
    prometheus::{Prometheus, Target},
};
use serde_json::Value;
use wiring::Link;

use super::broken_link::BrokenLink;

/// Checks every rule against the exported series, the labels that all targets have, and the scrape interval.
pub(super) fn check(
    objects: &[Value],
    exposition: &Exposition,
    prometheus: &Prometheus<'_>,
    adapter: &Adapter<'_>,
) -> Vec<BrokenLink> {
    let targets = targets(objects, prometheus);
    let sets = targets
        .iter()
        .map(|target| target.labels.keys().cloned().collect::<BTreeSet<_>>());
    let labels = sets.reduce(|labels, of_target| &labels & &of_target);
    let interval: Option<Duration> = targets.iter().filter_map(|target| target.interval).max();
    let mut broken = Vec::new();
    for rule in adapter.rules(Rules::Custom) {
        let query = rule.series_query();
        let matching = rule.matching(exposition);
        if matching.is_empty() {
            let exported = exposition.names().collect::<Vec<_>>().join(", ");
            let reason = format!("the rule for {query} matches no series; the binary exports {exported}");
            broken.push(BrokenLink::new(Link::ServiceMetric, reason));
        }
        for series in &matching {
            if rule.metric_name(series).is_none() {
                let reason = format!("the name pattern of the rule for {query} does not match {series}");
                broken.push(BrokenLink::new(Link::AdapterRule, reason));
            }
            let faults = rule.query_faults(series, |name| exposition.has(name), interval);
            let missing = faults.missing_series.iter().map(|name| {
                let reason = format!("a query reads {name}, which the binary does not export");
                BrokenLink::new(Link::ServiceMetric, reason)
            });
            broken.extend(missing);
            let of_query = faults.broken.into_iter().chain(faults.warnings);
            broken.extend(of_query.map(|reason| BrokenLink::new(Link::PodSamples, reason)));
        }
        if let Some(labels) = &labels {
            let has = |label: &str| {
                labels.contains(label) || matching.iter().any(|series| exposition.has_label(series, label))
            };
            let faults = rule.label_faults(&["namespace", "pod"], has);
            broken.extend(
                faults
                    .into_iter()
                    .map(|reason| BrokenLink::new(Link::AdapterRule, reason)),
            );
        }
    }
    broken
}

/// Returns the targets of every workload that an HPA scales.
fn targets(objects: &[Value], prometheus: &Prometheus<'_>) -> Vec<Target> {
    let scaled = of_kind(objects, "HorizontalPodAutoscaler").filter_map(|hpa| {
        let target = |field| text(hpa, &format!("/spec/scaleTargetRef/{field}"));
        objects::find(objects, target("kind"), namespace(hpa), target("name"))
    });
    scaled
        .filter_map(|workload| Some(prometheus.targets(objects, workload, pod_template(workload)?).0))
        .flatten()
        .collect()
}
