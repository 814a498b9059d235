//! The rule of the adapter that makes the metric of an HPA: its series, labels and query.

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;
use wiring::Link;

use crate::{
    adapter::{Adapter, Offer, Rules},
    autoscaler::{Metric, Source},
    discovery::Target,
    exposition::Exposition,
    notes::Notes,
    objects::title,
    prometheus::Prometheus,
    rule::Rule,
};

/// What the check of a rule compares.
pub(crate) struct RuleCheck<'chain> {
    pub(crate) objects: &'chain [Value],
    pub(crate) hpa: &'chain Value,
    pub(crate) prometheus: &'chain Prometheus<'chain>,
    pub(crate) adapter: &'chain Adapter<'chain>,
    /// The series of the pods; `None` if they are not known.
    pub(crate) exposition: Option<&'chain Exposition>,
    /// The targets of a pod; `None` if they are not known.
    pub(crate) targets: Option<&'chain [Target]>,
}

impl RuleCheck<'_> {
    /// Checks the rule that offers a metric, with its series, labels and query.
    pub(crate) fn check(&self, rules: Rules, metric: &Metric, resources: &[&str], notes: &mut Notes) {
        if !self.adapter.is_configured() {
            let missing = "no configuration of the adapter is among the manifests";
            for link in [Link::ServiceMetric, Link::AdapterRule, Link::PodSamples] {
                notes.not_checked(link, missing);
            }
            return;
        }
        let of_pods = metric.source == Source::Pods;
        self.adapter
            .check_connection(self.objects, self.prometheus, notes);
        if self.adapter.rules(rules).next().is_none() {
            let field = rules.field();
            notes.broken(
                Link::AdapterRule,
                format!(
                    "the adapter has no rules for {}: its configuration has no {field}",
                    metric.name
                ),
            );
            return;
        }
        let mut offers = self.adapter.offers(rules, &metric.name, self.exposition);
        if of_pods {
            self.keep_applicable(&mut offers, resources);
        }
        if offers.is_empty() {
            self.explain_missing_rule(rules, metric, notes);
            return;
        }
        let series = list_alternatives(offers.iter().map(|offer| &*offer.series));
        let rule = list_alternatives(offers.iter().map(|offer| offer.rule.series_query()));
        notes.works(
            Link::AdapterRule,
            format!("the rule for {rule} makes {} of {series}", metric.name),
        );
        self.check_series(&offers, &series, of_pods, notes);
        for offer in &offers {
            self.check_labels(offer, resources, of_pods, notes);
            self.check_query(offer, of_pods, notes);
        }
    }

    fn check_series(&self, offers: &[Offer<'_>], series: &str, of_pods: bool, notes: &mut Notes) {
        let Some(exposition) = self.exposition else {
            notes.not_checked(
                Link::ServiceMetric,
                format!("there is no /metrics page of the pods; they must export {series}"),
            );
            return;
        };
        if offers.iter().any(|offer| exposition.has(&offer.series)) {
            notes.works(Link::ServiceMetric, format!("the pods export {series}"));
        } else if of_pods {
            let similar = offers.first().map_or("", |offer| &*offer.series);
            let exported = exposition.list_similar(similar);
            notes.broken(
                Link::ServiceMetric,
                format!("the adapter needs {series}, but the pods export {exported}"),
            );
        } else {
            notes.not_checked(
                Link::ServiceMetric,
                format!("the pods do not export {series}, but another target may"),
            );
        }
    }

    fn explain_missing_rule(&self, rules: Rules, metric: &Metric, notes: &mut Notes) {
        let wanted = format!("{} scales on {}", title(self.hpa), metric.name);
        let is_predictable = self.adapter.rules(rules).all(Rule::is_predictable);
        if self.exposition.is_none() && !is_predictable {
            notes.not_checked(
                Link::AdapterRule,
                format!("{wanted}; which names the rules make is not known without a /metrics page"),
            );
            return;
        }
        let names = self.adapter.metric_names(rules, self.exposition);
        let offered = if names.is_empty() {
            "no name that is known".to_owned()
        } else {
            names.into_iter().collect::<Vec<_>>().join(", ")
        };
        let mut reasons = vec![format!("{wanted}; the rules offer {offered}")];
        reasons.extend(self.adapter.rules(rules).filter_map(Rule::template_fault));
        notes.broken(Link::AdapterRule, reasons.join("; "));
    }

    /// Without a `/metrics` page, drops the rules that need labels which no target has, if others need none.
    fn keep_applicable(&self, offers: &mut Vec<Offer<'_>>, resources: &[&str]) {
        let is_applicable = |offer: &Offer<'_>| self.label_faults(offer, resources).is_empty();
        if self.exposition.is_none() && offers.iter().any(is_applicable) {
            offers.retain(is_applicable);
        }
    }

    fn check_labels(&self, offer: &Offer<'_>, resources: &[&str], of_pods: bool, notes: &mut Notes) {
        let faults = if of_pods {
            self.label_faults(offer, resources)
        } else {
            Vec::new()
        };
        if self.exposition.is_some() {
            notes.all_broken(Link::AdapterRule, faults);
        } else {
            for fault in faults {
                notes.warn(
                    Link::AdapterRule,
                    format!("{fault}, unless the pods export the label themselves"),
                );
            }
        }
    }

    /// Returns the labels that the rule needs and that neither relabelling nor the pods add. If the targets are not known,
    /// there are no faults.
    fn label_faults(&self, offer: &Offer<'_>, resources: &[&str]) -> Vec<String> {
        let Some(targets) = self.targets else {
            return Vec::new();
        };
        // Keeps only the labels that every target has.
        let sets = targets
            .iter()
            .map(|target| target.labels.keys().cloned().collect::<BTreeSet<_>>());
        let labels = sets
            .reduce(|labels, of_target| &labels & &of_target)
            .unwrap_or_default();
        offer.rule.label_faults(resources, |label| {
            let exported = self
                .exposition
                .is_some_and(|exposition| exposition.has_label(&offer.series, label));
            exported || labels.contains(label)
        })
    }

    fn check_query(&self, offer: &Offer<'_>, of_pods: bool, notes: &mut Notes) {
        let is_exported = |name: &str| {
            name == offer.series || !of_pods || self.exposition.is_none_or(|exposition| exposition.has(name))
        };
        let faults = offer
            .rule
            .query_faults(&offer.series, is_exported, self.scrape_interval());
        for name in faults.missing_series {
            notes.broken(
                Link::ServiceMetric,
                format!("a query reads {name}, which the pods do not export"),
            );
        }
        if faults.broken.is_empty() {
            notes.works(Link::PodSamples, "the query selects the requested objects");
        }
        notes.all_broken(Link::PodSamples, faults.broken);
        for warning in faults.warnings {
            notes.warn(Link::PodSamples, warning);
        }
    }

    /// Returns the longest scrape interval of the pods, if it is known.
    fn scrape_interval(&self) -> Option<Duration> {
        self.targets
            .unwrap_or_default()
            .iter()
            .filter_map(|target| target.interval)
            .max()
    }
}

/// Lists different texts, as in `a, b or c`.
fn list_alternatives<'text>(texts: impl Iterator<Item = &'text str>) -> String {
    let mut different: Vec<&str> = Vec::new();
    for text in texts {
        if !different.contains(&text) {
            different.push(text);
        }
    }
    match different.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => different.concat(),
    }
}
