//! A rule of the adapter: the series that it selects, the metric that it makes from them, and its query.
//!
//! It follows pkg/naming of prometheus-adapter v0.12.0.

use std::{collections::BTreeSet, sync::LazyLock};

use regex::Regex;
use serde_json::Value;

use crate::{
    exposition::Exposition,
    objects::{list, text},
    query::{Matcher, Read},
    stored::{Count, Stored},
};

/// A series selector: the name and the label matchers.
static SELECTOR: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?s)^\s*([a-zA-Z_:][\w:]*)?\s*(?:\{(.*)\})?\s*$").expect("a valid pattern")
});
/// The reference to the first capture group, or to the whole name, in a name template.
static REFERENCE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\$(?:\{[01]\}|[01]\b)").expect("a valid pattern"));
/// A reference that continues with letters: `$1_total` is the group `1_total`.
static AMBIGUOUS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\$(\d)([A-Za-z_]\w*)").expect("a valid pattern"));
static GROUP: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\([^()]*\)").expect("a valid pattern"));
/// The functions that compute a rate from a counter.
static RATE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\b(rate|irate|increase|delta|deriv)\s*\(").expect("a valid pattern"));
static SUM: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\bsum\b").expect("a valid pattern"));
static NAME: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^[a-zA-Z_:][\w:]*$").expect("a valid pattern"));

/// A rule of the adapter.
#[derive(Clone, Copy, Debug)]
pub struct Rule<'config>(pub &'config Value);

/// The faults of a rule: those that break a link, and those that break nothing.
#[derive(Debug, Default)]
pub struct QueryFaults {
    /// Why the adapter returns no value.
    pub broken: Vec<String>,
    /// The series that the query reads and nobody exports.
    pub missing_series: Vec<String>,
    /// Why a value is sometimes missing or wrong.
    pub warnings: Vec<String>,
    /// Why the sum counts a request several times.
    pub repeated: Vec<String>,
    /// The series that several ports of a pod may serve. The sum would count each request once per port.
    pub of_several_ports: Vec<String>,
}

impl<'config> Rule<'config> {
    /// The series selector.
    #[must_use]
    pub fn series_query(self) -> &'config str {
        text(self.0, "/seriesQuery").trim()
    }

    /// Returns the exported series that the rule selects.
    #[must_use]
    pub fn matching(self, exposition: &Exposition) -> Vec<String> {
        let names = exposition.names().filter(|name| self.accepts(name));
        names.map(str::to_owned).collect()
    }

    /// Whether the rule selects a series of this name. The other labels are not considered.
    #[must_use]
    pub fn accepts(self, series: &str) -> bool {
        let Some((selected, matchers)) = self.selector() else {
            return false;
        };
        let mut names = matchers.iter().filter(|matcher| matcher.label == "__name__");
        selected.is_none_or(|selected| selected == series)
            && names.all(|matcher| matcher.accepts(series))
            && list(self.0, "/seriesFilters").iter().all(|filter| {
                match (text(filter, "/is"), text(filter, "/isNot")) {
                    ("", pattern) => !matches(pattern, series),
                    (pattern, _) => matches(pattern, series),
                }
            })
    }

    /// The name of the series, if the rule selects only one.
    #[must_use]
    pub fn declared_series(self) -> Option<String> {
        let (name, matchers) = self.selector()?;
        let by_label = matchers
            .into_iter()
            .find(|matcher| matcher.label == "__name__" && matcher.operator == "=");
        name.or(by_label.map(|matcher| matcher.value))
    }

    /// Returns the metric name of a series, from `name.matches` and `name.as` with the defaults of `NamersFromConfig`.
    #[must_use]
    pub fn metric_name(self, series: &str) -> Option<String> {
        let (pattern, template) = self.naming()?;
        let mut name = String::new();
        pattern.captures(series)?.expand(&template, &mut name);
        Some(name)
    }

    fn naming(self) -> Option<(Regex, String)> {
        let pattern = match text(self.0, "/name/matches") {
            "" => ".*",
            pattern => pattern,
        };
        let pattern = Regex::new(pattern).ok()?;
        let template = match (text(self.0, "/name/as"), pattern.captures_len()) {
            ("", 1) => "$0",
            ("", 2) => "$1",
            ("", _) => return None,
            (template, _) => template,
        };
        Some((pattern, template.to_owned()))
    }

    /// Returns a series from which the rule makes the metric. The exported series need not be known.
    #[must_use]
    pub fn series_for(self, metric: &str) -> Option<String> {
        let (pattern, template) = self.naming()?;
        let stem = match REFERENCE.find(&template) {
            // Every series gets this name.
            None if template == metric => {
                return Some(
                    self.declared_series()
                        .unwrap_or_else(|| self.series_query().to_owned()),
                );
            }
            None => return None,
            Some(reference) => metric
                .strip_prefix(&template[..reference.start()])?
                .strip_suffix(&template[reference.end()..])?,
        };
        let replaced = Regex::new(r"\([^()]*\)")
            .ok()?
            .replace(pattern.as_str(), regex::NoExpand(stem))
            .into_owned();
        let by_pattern = replaced.trim_start_matches('^').trim_end_matches('$').to_owned();
        let candidates = [
            self.declared_series().unwrap_or_default(),
            by_pattern,
            stem.to_owned(),
            format!("{stem}_total"),
        ];
        candidates.into_iter().find(|series| {
            NAME.is_match(series)
                && self.accepts(series)
                && self.metric_name(series).as_deref() == Some(metric)
        })
    }

    /// Whether [`Rule::series_for`] finds every series.
    #[must_use]
    pub fn is_predictable(self) -> bool {
        self.naming().is_some_and(|(pattern, template)| {
            let is_simple = pattern.as_str() == ".*" || NAME.is_match(&with_group(&pattern, "x"));
            is_simple && !REFERENCE.replace(&template, "").contains('$')
        })
    }

    /// Explains a name template that gives an empty name.
    #[must_use]
    pub fn template_fault(self) -> Option<String> {
        let template = text(self.0, "/name/as");
        let reference = AMBIGUOUS.captures(template)?;
        Some(format!(
            "in the name {template}, {} refers to a group of this name: write ${{{}}}{}",
            &reference[0], &reference[1], &reference[2]
        ))
    }

    /// The label from which the rule reads a resource, such as `pod`.
    #[must_use]
    pub fn label_of(self, resource: &str) -> Option<String> {
        let overrides = self.0.pointer("/resources/overrides").and_then(Value::as_object);
        let overridden = overrides.into_iter().flatten().find(|(_, mapped)| {
            let mapped = text(mapped, "/resource");
            mapped == resource || mapped.strip_suffix('s') == Some(resource)
        });
        if let Some((label, _)) = overridden {
            return Some(label.clone());
        }
        match text(self.0, "/resources/template") {
            "" => None,
            template => Some(
                template
                    .replace("<<.Resource>>", resource)
                    .replace("<<.Group>>", "")
                    .replace("<< .Resource >>", resource),
            ),
        }
    }

    /// Checks that the series has the labels that the rule uses: those of the resources, and those that its selector needs.
    #[must_use]
    pub fn label_faults(self, resources: &[&str], has: impl Fn(&str) -> bool) -> Vec<String> {
        let query = self.series_query();
        let mut faults = Vec::new();
        for resource in resources {
            match self.label_of(resource) {
                Some(label) if has(&label) => {}
                Some(label) => faults.push(format!(
                    "the rule for {query} reads the {resource} from the label {label}, which no series has"
                )),
                None => faults.push(format!("the rule for {query} names no label for the {resource}")),
            }
        }
        for Matcher {
            label,
            operator,
            value,
        } in self.selector().map(|(_, matchers)| matchers).unwrap_or_default()
        {
            let is_required =
                (operator == "!=" && value.is_empty()) || (operator == "=" && !value.is_empty());
            if is_required && label != "__name__" && !has(&label) {
                faults.push(format!(
                    "{query} selects by the label {label}, which no series has"
                ));
            }
        }
        faults
    }

    /// Checks that the query selects the requested objects, reads series that Prometheus stores once, and uses windows of at
    /// least three scrapes by the job that stores the series. Such a window still holds two samples if one scrape fails.
    #[must_use]
    pub fn query_faults(self, series: &str, stored: &Stored<'_>) -> QueryFaults {
        let query = text(self.0, "/metricsQuery").replace("<<.Series>>", series);
        let mut faults = QueryFaults::default();
        for (part, instead) in [
            ("<<.LabelMatchers>>", "LabelValuesByName"),
            ("<<.GroupBy>>", "GroupBySlice"),
        ] {
            if !query.contains(part) && !query.contains(instead) {
                faults.broken.push(format!("the query for {series} lacks {part}"));
            }
        }
        if series.ends_with("_total") && !RATE.is_match(&query) {
            faults.warnings.push(format!(
                "the query for {series} does not compute a rate of the counter, so the value only grows"
            ));
        }
        let exposition = stored.exposition();
        let mut known = BTreeSet::from([series.to_owned()]);
        for read in Read::all(&query) {
            let name = &read.series;
            let is_stored = match &exposition {
                Some(exposition) => exposition.has(name),
                None => stored.why_dropped(name).is_none(),
            };
            if read.window.is_some() && known.insert(name.clone()) && !is_stored {
                faults.missing_series.push(name.clone());
            }
            faults.check_window(&read, stored);
            if SUM.is_match(&query) {
                match stored.count(&read) {
                    Count::Repeated(reason) => faults.repeated.push(reason),
                    Count::SeveralPorts => faults.of_several_ports.push(name.clone()),
                    Count::Once => {}
                }
            }
        }
        faults
    }

    /// Parses the selector into the name and the label matchers.
    fn selector(self) -> Option<(Option<String>, Vec<Matcher>)> {
        let parsed = SELECTOR.captures(self.series_query())?;
        let matchers = parsed.get(2).map_or("", |matchers| matchers.as_str());
        Some((
            parsed.get(1).map(|name| name.as_str().to_owned()),
            Matcher::all(matchers),
        ))
    }
}

impl QueryFaults {
    fn check_window(&mut self, read: &Read, stored: &Stored<'_>) {
        let Some(target) = stored.slowest(read) else {
            return;
        };
        let window = read.window.as_deref().unwrap_or_default();
        let (Some(interval), Ok(length)) = (target.interval, humantime::parse_duration(window)) else {
            return;
        };
        let what = format!(
            "the window {window} over {} of {} holds fewer than three scrapes of {interval:?}",
            read.series, target.job
        );
        if length < 2 * interval {
            self.broken
                .push(format!("{what}, and a rate needs two: use {:?}", 3 * interval));
        } else if length < 3 * interval {
            self.warnings
                .push(format!("{what}, so one failed scrape loses the value"));
        }
    }
}

/// Replaces the first group of a pattern by a text, and removes the anchors.
fn with_group(pattern: &Regex, text: &str) -> String {
    let replaced = GROUP.replace(pattern.as_str(), regex::NoExpand(text));
    replaced.trim_start_matches('^').trim_end_matches('$').to_owned()
}

fn matches(pattern: &str, text: &str) -> bool {
    Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text))
}
