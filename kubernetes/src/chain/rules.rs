//! Checks every rule of the adapter, also those that no HPA uses.

use chain_check::{
    Exposition,
    adapter::{Adapter, Rules},
    objects::{self, namespace, of_kind, pod_template, text},
    prometheus::Prometheus,
    rule::Rule,
    stored::Stored,
};
use serde_json::Value;
use wiring::Link;

use super::broken_link::BrokenLink;

/// Checks every rule against the series that Prometheus stores of the pods that an HPA scales, and against the scrape interval.
pub(super) fn check(
    objects: &[Value],
    exposition: &Exposition,
    prometheus: &Prometheus<'_>,
    adapter: &Adapter<'_>,
) -> Vec<BrokenLink> {
    let scaled = of_kind(objects, "HorizontalPodAutoscaler").filter_map(|hpa| {
        let target = |field| text(hpa, &format!("/spec/scaleTargetRef/{field}"));
        objects::find(objects, target("kind"), namespace(hpa), target("name"))
    });
    let mut broken = Vec::new();
    for workload in scaled {
        let Some(template) = pod_template(workload) else {
            continue;
        };
        let (targets, _) = prometheus.targets(objects, workload, template);
        let targets = (!targets.is_empty()).then_some(targets);
        let stored = Stored::new(targets.as_deref(), Some(exposition));
        let rules = adapter.rules(Rules::Custom);
        broken.extend(rules.flat_map(|rule| check_rule(rule, exposition, &stored)));
    }
    broken
}

fn check_rule(rule: Rule<'_>, exposition: &Exposition, stored: &Stored<'_>) -> Vec<BrokenLink> {
    let mut broken = Vec::new();
    let query = rule.series_query();
    let matching = rule.matching(exposition);
    if matching.is_empty() {
        let exported = exposition.names().collect::<Vec<_>>().join(", ");
        let reason = format!("the rule for {query} matches no series; the binary exports {exported}");
        broken.push(BrokenLink::new(Link::ServiceMetric, reason));
    }
    for series in &matching {
        let mut add = |link, reasons: Vec<String>| {
            broken.extend(reasons.into_iter().map(|reason| BrokenLink::new(link, reason)));
        };
        if rule.metric_name(series).is_none() {
            let reason = format!("the name pattern of the rule for {query} does not match {series}");
            add(Link::AdapterRule, vec![reason]);
        }
        add(
            Link::ServiceMetric,
            stored.why_dropped(series).into_iter().collect(),
        );
        let faults = rule.query_faults(series, stored);
        let missing = faults.missing_series.iter().map(|name| {
            let why = stored.why_dropped(name);
            let why = why.unwrap_or_else(|| "the binary does not export it".to_owned());
            format!("a query reads {name}: {why}")
        });
        add(Link::ServiceMetric, missing.collect());
        add(Link::PodSamples, faults.broken);
        add(Link::PodSamples, faults.warnings);
        add(Link::PrometheusScrape, faults.repeated);
        let several = |name| format!("several ports of a pod may serve {name}, which a rule sums");
        add(
            Link::PrometheusScrape,
            faults.of_several_ports.into_iter().map(several).collect(),
        );
        if let Some(labels) = stored.labels(series) {
            let has = |label: &str| labels.contains(label);
            add(Link::AdapterRule, rule.label_faults(&["namespace", "pod"], has));
        }
    }
    broken
}
