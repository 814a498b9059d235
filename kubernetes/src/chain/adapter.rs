//! The adapter's side of the chain: the metrics that its rules offer, with their series and queries.
//!
//! It follows pkg/naming of prometheus-adapter v0.12.0.

use super::{broken_link::BrokenLink, component::Component, exposition::Exposition, scrape::Prometheus};
use crate::objects::{self, list, namespace, text, title};
use regex::Regex;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
    time::Duration,
};
use wiring::Link;

/// A series selector: the name and the label matchers.
static SELECTOR: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^\s*([a-zA-Z_:][\w:]*)?\s*(?:\{(.*)\})?\s*$").expect("a valid pattern"));
static MATCHER: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"(\w+)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)""#).expect("a valid pattern"));
/// A range selector in a query.
static RANGE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"([a-zA-Z_:][\w:]*)\{[^}]*\}\[(\w+)\]").expect("a valid pattern"));

/// The prometheus-adapter of the rendered objects, and its rules.
pub struct Adapter<'objects> {
    /// The container with the URL of Prometheus.
    pub component: Component<'objects>,
    rules: Vec<Value>,
}

impl<'objects> Adapter<'objects> {
    /// Finds the adapter and reads its rules.
    ///
    /// # Errors
    /// Names the missing part.
    pub fn find(objects: &'objects [Value]) -> Result<Self, String> {
        let component = Component::with_flag(objects, "--prometheus-url")
            .ok_or("no adapter: no container has the flag --prometheus-url")?;
        let config = component.file_of(objects, "--config")?;
        let rules = list(&config, "/rules").to_vec();
        if rules.is_empty() {
            return Err(format!(
                "{} has no rules; without rules the adapter serves no API",
                title(component.workload)
            ));
        }
        Ok(Self { component, rules })
    }

    /// Returns the names of the metrics that the rules offer.
    ///
    /// A rule that matches no series still offers the name that it declares. The missing series is a fault of another link.
    #[must_use]
    pub fn metric_names(&self, exposition: &Exposition) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for rule in &self.rules {
            let declared = selector(rule).and_then(|(name, _)| name);
            let matching = matching(rule, exposition);
            let series = if matching.is_empty() {
                declared.into_iter().collect()
            } else {
                matching
            };
            names.extend(series.iter().filter_map(|series| metric_name(rule, series)));
        }
        names
    }

    /// Checks every rule against the exported series, the labels that relabelling adds (if known), and the scrape interval.
    pub(super) fn check_rules(
        &self,
        exposition: &Exposition,
        target_labels: Option<&BTreeSet<String>>,
        scrape_interval: Duration,
    ) -> Vec<BrokenLink> {
        let mut broken = Vec::new();
        for rule in &self.rules {
            let query = text(rule, "/seriesQuery");
            let matching = matching(rule, exposition);
            if matching.is_empty() {
                let exported = exposition.names().collect::<Vec<_>>().join(", ");
                let reason = format!("the rule for {query} matches no series; the binary exports {exported}");
                broken.push(BrokenLink::new(Link::ServiceMetric, reason));
            }
            for series in &matching {
                if metric_name(rule, series).is_none() {
                    let reason = format!("the name pattern of the rule for {query} does not match {series}");
                    broken.push(BrokenLink::new(Link::AdapterRule, reason));
                }
                broken.extend(check_query(rule, series, exposition, scrape_interval));
            }
            if let Some(labels) = target_labels {
                broken.extend(check_labels(
                    rule,
                    matching.first().map(String::as_str),
                    exposition,
                    labels,
                ));
            }
        }
        broken
    }

    /// Checks that the adapter's flags name the Service of Prometheus, and that the adapter accepts them.
    pub(super) fn check_connection(&self, objects: &[Value], prometheus: &Prometheus<'_>) -> Vec<BrokenLink> {
        let mut broken = Vec::new();
        let url = self
            .component
            .expanded_flag("--prometheus-url")
            .unwrap_or_default();
        if let Err(reason) = check_url(objects, &url, prometheus, namespace(self.component.workload)) {
            broken.push(BrokenLink::new(
                Link::AdapterRule,
                format!("--prometheus-url={url}: {reason}"),
            ));
        }
        // The adapter's defaults: ten minutes, and the relist interval.
        let duration = |flag| {
            self.component
                .flag(flag)
                .and_then(|value| humantime::parse_duration(value).ok())
        };
        let relist = duration("--metrics-relist-interval").unwrap_or(Duration::from_mins(10));
        if duration("--metrics-max-age").unwrap_or(relist) < relist {
            let reason = "--metrics-max-age is below --metrics-relist-interval; the adapter exits at once";
            broken.push(BrokenLink::new(Link::AdapterRule, reason));
        }
        broken
    }
}

/// Checks that a URL names a Service of the Prometheus pods and one of its ports.
fn check_url(
    objects: &[Value],
    url: &str,
    prometheus: &Prometheus<'_>,
    own_namespace: &str,
) -> Result<(), String> {
    let address = url.strip_prefix("http://").ok_or("expected http://")?;
    let (host, port) = address
        .trim_end_matches('/')
        .split_once(':')
        .unwrap_or((address, "80"));
    let port: u64 = port.parse().map_err(|_| format!("{port} is not a port"))?;
    let mut labels_of_host = host.split('.');
    let service = labels_of_host.next().unwrap_or_default();
    let in_namespace = labels_of_host.next().unwrap_or(own_namespace);
    let service = objects::find(objects, "Service", in_namespace, service)
        .ok_or_else(|| format!("there is no Service {in_namespace}/{service}"))?;
    prometheus.component.check_selected_by(service)?;
    let entry = list(service, "/spec/ports")
        .iter()
        .find(|entry| entry["port"].as_u64() == Some(port));
    match entry.map(|entry| objects::resolve_port(prometheus.component.template, &entry["targetPort"])) {
        Some(Some(_)) => Ok(()),
        Some(None) => Err(format!("{} targets a port that no container has", title(service))),
        None => Err(format!("{} has no port {port}", title(service))),
    }
}

/// Parses the `seriesQuery` of a rule into the name and the label matchers.
fn selector(rule: &Value) -> Option<(Option<String>, Vec<[String; 3]>)> {
    let parsed = SELECTOR.captures(text(rule, "/seriesQuery"))?;
    let matchers = parsed.get(2).map_or("", |matchers| matchers.as_str());
    let matchers = MATCHER
        .captures_iter(matchers)
        .map(|found| [1, 2, 3].map(|part| found[part].to_owned()))
        .collect();
    Some((parsed.get(1).map(|name| name.as_str().to_owned()), matchers))
}

/// Returns the exported series that a rule matches.
fn matching(rule: &Value, exposition: &Exposition) -> Vec<String> {
    let Some((selected, matchers)) = selector(rule) else {
        return Vec::new();
    };
    let filters = list(rule, "/seriesFilters");
    exposition
        .names()
        .filter(|name| selected.as_ref().is_none_or(|selected| selected == name))
        .filter(|name| {
            matchers
                .iter()
                .filter(|[label, ..]| label == "__name__")
                .all(|[_, operator, value]| match operator.as_str() {
                    "=" => value == name,
                    "!=" => value != name,
                    "=~" => matches(&format!("^(?:{value})$"), name),
                    _ => !matches(&format!("^(?:{value})$"), name),
                })
        })
        .filter(|name| {
            filters
                .iter()
                .all(|filter| match (text(filter, "/is"), text(filter, "/isNot")) {
                    ("", pattern) => !matches(pattern, name),
                    (pattern, _) => matches(pattern, name),
                })
        })
        .map(str::to_owned)
        .collect()
}

fn matches(pattern: &str, text: &str) -> bool {
    Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text))
}

/// Returns the metric name of a series, from `name.matches` and `name.as` with the defaults of `NamersFromConfig`.
fn metric_name(rule: &Value, series: &str) -> Option<String> {
    let pattern = match text(rule, "/name/matches") {
        "" => ".*",
        pattern => pattern,
    };
    let pattern = Regex::new(pattern).ok()?;
    let template = match (text(rule, "/name/as"), pattern.captures_len()) {
        ("", 1) => "$0",
        ("", 2) => "$1",
        ("", _) => return None,
        (template, _) => template,
    };
    let mut name = String::new();
    pattern.captures(series)?.expand(template, &mut name);
    Some(name)
}

/// Checks that the series has the labels that a rule uses, from relabelling or from the binary.
fn check_labels(
    rule: &Value,
    series: Option<&str>,
    exposition: &Exposition,
    target_labels: &BTreeSet<String>,
) -> Vec<BrokenLink> {
    let query = text(rule, "/seriesQuery");
    let has = |label: &str| {
        target_labels.contains(label) || series.is_some_and(|series| exposition.has_label(series, label))
    };
    let mut broken = Vec::new();
    let overrides = rule
        .pointer("/resources/overrides")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    let resources: BTreeMap<&str, &str> = overrides
        .map(|(label, resource)| (text(resource, "/resource"), label.as_str()))
        .collect();
    for resource in ["namespace", "pod"] {
        match resources.get(resource) {
            Some(label) if has(label) => {}
            Some(label) => {
                let reason = format!(
                    "the rule for {query} reads the {resource} from the label {label}, which no series has"
                );
                broken.push(BrokenLink::new(Link::AdapterRule, reason));
            }
            None => {
                let reason = format!("the rule for {query} names no label for the {resource}");
                broken.push(BrokenLink::new(Link::AdapterRule, reason));
            }
        }
    }
    for [label, operator, value] in selector(rule).map(|(_, matchers)| matchers).unwrap_or_default() {
        let is_required = (operator == "!=" && value.is_empty()) || (operator == "=" && !value.is_empty());
        if is_required && label != "__name__" && !has(&label) {
            let reason = format!("{query} selects by the label {label}, which no series has");
            broken.push(BrokenLink::new(Link::AdapterRule, reason));
        }
    }
    broken
}

/// Checks that the query of a rule selects the requested pods, reads series that exist, and uses windows of at least three
/// scrapes. Such a window still holds two samples if one scrape fails.
fn check_query(
    rule: &Value,
    series: &str,
    exposition: &Exposition,
    scrape_interval: Duration,
) -> Vec<BrokenLink> {
    let query = text(rule, "/metricsQuery").replace("<<.Series>>", series);
    let mut broken = Vec::new();
    for part in ["<<.LabelMatchers>>", "<<.GroupBy>>"] {
        if !query.contains(part) {
            broken.push(BrokenLink::new(
                Link::PodSamples,
                format!("the query for {series} lacks {part}"),
            ));
        }
    }
    for range in RANGE.captures_iter(&query) {
        let (name, window) = (&range[1], &range[2]);
        if !exposition.has(name) {
            broken.push(BrokenLink::new(
                Link::ServiceMetric,
                format!("a query reads {name}, which the binary does not export"),
            ));
        }
        let least = 3 * scrape_interval;
        if humantime::parse_duration(window).is_ok_and(|window| window < least) {
            let reason = format!(
                "the window {window} over {name} holds fewer than three scrapes of {scrape_interval:?}"
            );
            broken.push(BrokenLink::new(Link::PodSamples, reason));
        }
    }
    broken
}
