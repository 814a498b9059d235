//! Relabelling, as Prometheus does it.
//!
//! <https://prometheus.io/docs/prometheus/latest/configuration/configuration/#relabel_config>

use std::collections::BTreeMap;

use regex::{Captures, Regex};
use serde_json::Value;

use crate::objects::list;

/// Applies relabelling rules. The error names the rule that drops the target.
pub(crate) fn relabel(
    rules: &[Value],
    mut labels: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, String> {
    for rule in rules {
        let or = |field: &str, default: &str| {
            rule.get(field).map_or(default.to_owned(), |value| {
                value.as_str().map_or(value.to_string(), str::to_owned)
            })
        };
        let pattern = or("regex", "(.*)");
        let regex = Regex::new(&format!("^(?:{pattern})$")).map_err(|error| error.to_string())?;
        let sources = list(rule, "/source_labels").iter().filter_map(Value::as_str);
        let values = sources
            .clone()
            .map(|source| labels.get(source).map_or("", String::as_str));
        let value = values.collect::<Vec<_>>().join(&or("separator", ";"));
        let captures = regex.captures(&value);
        let action = or("action", "replace");
        let dropped = || {
            let sources = sources.clone().collect::<Vec<_>>().join(", ");
            format!("{action} {pattern:?} of {sources} drops a port with {value:?}")
        };
        match action.to_lowercase().as_str() {
            "keep" if captures.is_none() => return Err(dropped()),
            "drop" if captures.is_some() => return Err(dropped()),
            // The last three select a share of the targets, which this check cannot compute.
            "keep" | "drop" | "hashmod" | "keepequal" | "dropequal" => {}
            "replace" => {
                if let Some(captures) = captures {
                    labels.insert(
                        or("target_label", ""),
                        expand(&captures, &or("replacement", "$1")),
                    );
                }
            }
            "labelmap" => {
                let mapped: Vec<_> = labels
                    .iter()
                    .filter_map(|(label, value)| {
                        Some((
                            expand(&regex.captures(label)?, &or("replacement", "$1")),
                            value.clone(),
                        ))
                    })
                    .collect();
                labels.extend(mapped);
            }
            "labeldrop" => labels.retain(|label, _| !regex.is_match(label)),
            "labelkeep" => labels.retain(|label, _| regex.is_match(label)),
            "lowercase" | "uppercase" => {
                let value = if action.eq_ignore_ascii_case("lowercase") {
                    value.to_lowercase()
                } else {
                    value.to_uppercase()
                };
                labels.insert(or("target_label", ""), value);
            }
            _ => return Err(format!("the action {action} does not exist")),
        }
    }
    Ok(labels)
}

fn expand(captures: &Captures<'_>, template: &str) -> String {
    let mut expanded = String::new();
    captures.expand(template, &mut expanded);
    expanded
}
