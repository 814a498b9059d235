//! Checks the rule of the adapter that makes the metric of an HPA: its series, labels and query.

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
    stored::Stored,
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
        let stored = Stored::new(self.targets, self.exposition);
        let in_prometheus = stored.exposition();
        let expositions: Vec<&Exposition> = in_prometheus.iter().chain(self.exposition).collect();
        let mut offers = self.adapter.offers(rules, &metric.name, &expositions);
        if of_pods {
            self.keep_applicable(&stored, &mut offers, resources);
        }
        if offers.is_empty() {
            self.explain_missing_rule(rules, metric, in_prometheus.as_ref(), notes);
            return;
        }
        let series = list_alternatives(offers.iter().map(|offer| &*offer.series));
        let rule = list_alternatives(offers.iter().map(|offer| offer.rule.series_query()));
        notes.works(
            Link::AdapterRule,
            format!("the rule for {rule} makes {} from {series}", metric.name),
        );
        self.check_series(&stored, &offers, &series, of_pods, notes);
        for offer in &offers {
            if of_pods {
                self.check_labels(&stored, offer, resources, notes);
            }
            self.check_query(&stored, offer, of_pods, notes);
        }
    }

    fn check_series(
        &self,
        stored: &Stored<'_>,
        offers: &[Offer<'_>],
        series: &str,
        of_pods: bool,
        notes: &mut Notes,
    ) {
        let dropped = offers
            .iter()
            .filter_map(|offer| stored.why_dropped(&offer.series));
        let dropped: Vec<String> = dropped.collect();
        if of_pods && dropped.len() == offers.len() {
            notes.all_broken(Link::ServiceMetric, dropped);
            return;
        }
        let Some(exposition) = self.exposition else {
            notes.not_checked(
                Link::ServiceMetric,
                format!("there is no /metrics page of the pods; they must export {series}"),
            );
            return;
        };
        let in_prometheus = stored.exposition();
        let is_stored = |offer: &Offer<'_>| {
            in_prometheus
                .as_ref()
                .is_some_and(|stored| stored.has(&offer.series))
        };
        if offers.iter().any(is_stored) {
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

    fn explain_missing_rule(
        &self,
        rules: Rules,
        metric: &Metric,
        in_prometheus: Option<&Exposition>,
        notes: &mut Notes,
    ) {
        let wanted = format!("{} scales on {}", title(self.hpa), metric.name);
        let is_predictable = self.adapter.rules(rules).all(Rule::is_predictable);
        if self.exposition.is_none() && !is_predictable {
            notes.not_checked(
                Link::AdapterRule,
                format!("{wanted}; without a /metrics page, the metrics that the rules offer are not known"),
            );
            return;
        }
        let names = self.adapter.metric_names(rules, in_prometheus);
        let offered = if names.is_empty() {
            "no metric with a known name".to_owned()
        } else {
            names.into_iter().collect::<Vec<_>>().join(", ")
        };
        let mut reasons = vec![format!("{wanted}; the rules offer {offered}")];
        reasons.extend(self.adapter.rules(rules).filter_map(Rule::template_fault));
        notes.broken(Link::AdapterRule, reasons.join("; "));
    }

    /// Without a `/metrics` page, drops the rules that need labels that no target has, if there are other rules.
    fn keep_applicable(&self, stored: &Stored<'_>, offers: &mut Vec<Offer<'_>>, resources: &[&str]) {
        let is_applicable = |offer: &Offer<'_>| label_faults(stored, offer, resources).is_empty();
        if self.exposition.is_none() && offers.iter().any(is_applicable) {
            offers.retain(is_applicable);
        }
    }

    fn check_labels(&self, stored: &Stored<'_>, offer: &Offer<'_>, resources: &[&str], notes: &mut Notes) {
        let faults = label_faults(stored, offer, resources);
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

    fn check_query(&self, stored: &Stored<'_>, offer: &Offer<'_>, of_pods: bool, notes: &mut Notes) {
        let faults = offer.rule.query_faults(&offer.series, stored);
        // Another target may export the series that the pods do not.
        for name in faults.missing_series.iter().filter(|_| of_pods) {
            let why = stored.why_dropped(name);
            let why = why.unwrap_or_else(|| "the pods do not export it".to_owned());
            notes.broken(Link::ServiceMetric, format!("a query reads {name}: {why}"));
        }
        if faults.broken.is_empty() {
            notes.works(Link::PodSamples, "the query selects the requested objects");
        }
        notes.all_broken(Link::PodSamples, faults.broken);
        for warning in faults.warnings {
            notes.warn(Link::PodSamples, warning);
        }
        notes.all_broken(Link::PrometheusScrape, faults.repeated);
        for series in faults.of_several_ports {
            let targets = self.targets.unwrap_or_default();
            let ports: Vec<String> = targets
                .iter()
                .map(|target| format!("port {} by {}", target.port, target.job))
                .collect();
            notes.warn(
                Link::PrometheusScrape,
                format!(
                    "Prometheus would scrape each pod {} times: {}; if several of these ports serve {series}, the sum counts each request several times",
                    targets.len(),
                    ports.join(", ")
                ),
            );
        }
    }
}

/// Returns the labels that the rule needs and that the stored series does not have. If no job is known to store it, there are
/// no faults.
fn label_faults(stored: &Stored<'_>, offer: &Offer<'_>, resources: &[&str]) -> Vec<String> {
    stored.labels(&offer.series).map_or(Vec::new(), |labels| {
        offer.rule.label_faults(resources, |label| labels.contains(label))
    })
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
