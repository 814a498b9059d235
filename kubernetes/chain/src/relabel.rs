//! Relabelling, as Prometheus does it: of targets, and of the samples of a scrape.
//!
//! <https://prometheus.io/docs/prometheus/latest/configuration/configuration/#relabel_config>

use std::collections::BTreeMap;

use regex::{Captures, Regex};
use serde_json::Value;

use crate::objects::list;

/// The labels of a target or of a sample.
pub(crate) type Labels = BTreeMap<String, String>;

/// Rules, ready to be applied to many sets of labels.
#[derive(Clone, Debug, Default)]
pub(crate) struct Relabelling(Vec<Rule>);

#[derive(Clone, Debug)]
struct Rule {
    sources: Vec<String>,
    separator: String,
    pattern: String,
    regex: Regex,
    action: String,
    target: String,
    replacement: String,
}

impl Relabelling {
    /// Parses rules with the field names of Prometheus.
    pub(crate) fn parse(rules: &[Value]) -> Result<Self, String> {
        rules.iter().map(Rule::parse).collect::<Result<_, _>>().map(Self)
    }

    /// Applies the rules. The error names the rule that drops the target or the sample.
    pub(crate) fn apply(&self, labels: Labels) -> Result<Labels, String> {
        self.0.iter().try_fold(labels, |labels, rule| rule.apply(labels))
    }

    /// Returns only the rules that read none but the given labels, and whether these are all rules.
    pub(crate) fn for_labels(&self, labels: &Labels) -> (Self, bool) {
        let is_known = |rule: &&Rule| rule.sources.iter().all(|source| labels.contains_key(source));
        let known: Vec<Rule> = self.0.iter().filter(is_known).cloned().collect();
        let is_complete = known.len() == self.0.len();
        (Self(known), is_complete)
    }
}

impl Rule {
    fn parse(rule: &Value) -> Result<Self, String> {
        let or = |field: &str, default: &str| {
            rule.get(field).map_or(default.to_owned(), |value| {
                value.as_str().map_or(value.to_string(), str::to_owned)
            })
        };
        let pattern = or("regex", "(.*)");
        let regex = Regex::new(&format!("^(?:{pattern})$")).map_err(|error| error.to_string())?;
        let sources = list(rule, "/source_labels").iter().filter_map(Value::as_str);
        Ok(Self {
            sources: sources.map(str::to_owned).collect(),
            separator: or("separator", ";"),
            pattern,
            regex,
            action: or("action", "replace").to_lowercase(),
            target: or("target_label", ""),
            replacement: or("replacement", "$1"),
        })
    }

    fn apply(&self, mut labels: Labels) -> Result<Labels, String> {
        let Self { regex, action, .. } = self;
        let values = self
            .sources
            .iter()
            .map(|source| labels.get(source).map_or("", String::as_str));
        let value = values.collect::<Vec<_>>().join(&self.separator);
        let captures = regex.captures(&value);
        let dropped = || {
            let sources = self.sources.join(", ");
            format!("{action} {:?} of {sources} drops {value:?}", self.pattern)
        };
        match action.as_str() {
            "keep" if captures.is_none() => return Err(dropped()),
            "drop" if captures.is_some() => return Err(dropped()),
            // The last three select a share of the targets, which this check cannot compute.
            "keep" | "drop" | "hashmod" | "keepequal" | "dropequal" => {}
            "replace" => {
                if let Some(captures) = captures {
                    labels.insert(self.target.clone(), expand(&captures, &self.replacement));
                }
            }
            "labelmap" => {
                let mapped: Vec<_> = labels
                    .iter()
                    .filter_map(|(label, value)| {
                        Some((expand(&regex.captures(label)?, &self.replacement), value.clone()))
                    })
                    .collect();
                labels.extend(mapped);
            }
            "labeldrop" => labels.retain(|label, _| !regex.is_match(label)),
            "labelkeep" => labels.retain(|label, _| regex.is_match(label)),
            "lowercase" => {
                labels.insert(self.target.clone(), value.to_lowercase());
            }
            "uppercase" => {
                labels.insert(self.target.clone(), value.to_uppercase());
            }
            _ => return Err(format!("the action {action} does not exist")),
        }
        Ok(labels)
    }
}

fn expand(captures: &Captures<'_>, template: &str) -> String {
    let mut expanded = String::new();
    captures.expand(template, &mut expanded);
    expanded
}
