//! The load of a run, as its report describes it, and the differences between two loads. Pure.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::target::Target;

/// The properties of a report that shape the load. They must be equal in compared runs.
///
/// Every field of the plan counts, so that a new field counts too. The addresses of the servers do not count.
#[derive(Debug, PartialEq, Deserialize)]
pub(crate) struct SentLoad {
    plan: Map<String, Value>,
    targets: Vec<Target>,
    /// The processes that sent the load together; empty for one process.
    #[serde(default)]
    stripes: Vec<Value>,
}

impl SentLoad {
    /// Returns the planned length of the load, in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        self.plan
            .get("duration_seconds")
            .and_then(Value::as_f64)
            .unwrap_or(0.0)
    }

    /// Returns one line for each property that differs, with both values.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        differences(
            "plan",
            &self.comparable_plan(),
            &other.comparable_plan(),
            &mut found,
        );
        differences(
            "targets",
            &self.comparable_targets(),
            &other.comparable_targets(),
            &mut found,
        );
        let stripes = |load: &Self| Value::from(load.stripes.len().max(1));
        differences("stripes", &stripes(self), &stripes(other), &mut found);
        found
    }

    /// Returns the plan without the seed of random arrivals: other arrivals of the same process are the same load.
    fn comparable_plan(&self) -> Value {
        let mut plan = self.plan.clone();
        if let Some(spacing) = plan.get_mut("spacing")
            && spacing.get("poisson").is_some()
        {
            *spacing = "poisson".into();
        }
        Value::Object(plan)
    }

    /// Returns the targets with a number in place of each host: `3 GET http://host-1/hello`.
    fn comparable_targets(&self) -> Value {
        let mut hosts = Vec::new();
        let target = |target: &Target| {
            let origin = target.origin();
            let number = hosts.iter().position(|host| *host == origin).unwrap_or_else(|| {
                hosts.push(origin);
                hosts.len() - 1
            });
            let scheme = target.url.scheme_str().unwrap_or_default();
            let path = target.url.path_and_query().map_or("/", |path| path.as_str());
            format!(
                "{} {} {scheme}://host-{}{path}",
                target.weight,
                target.method,
                number + 1
            )
        };
        self.targets.iter().map(target).collect()
    }
}

/// Adds the paths at which two JSON values differ, with both values.
fn differences(path: &str, one: &Value, other: &Value, found: &mut Vec<String>) {
    match (one, other) {
        _ if one == other => {}
        (Value::Object(one), Value::Object(other)) => {
            let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            for name in names {
                let value = |object: &Map<String, Value>| object.get(name).cloned().unwrap_or(Value::Null);
                differences(&format!("{path}.{name}"), &value(one), &value(other), found);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                differences(&format!("{path}[{index}]"), one, other, found);
            }
        }
        _ => found.push(format!("{path}: {} and {}", shown(one), shown(other))),
    }
}

/// Formats a value, and cuts a long one off.
fn shown(value: &Value) -> String {
    const MAX_CHARACTERS: usize = 200;
    let text = value.to_string();
    match text.char_indices().nth(MAX_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn load(change: impl Fn(&mut Value)) -> SentLoad {
        let mut report = json!({
            "plan": {"spacing": "even", "connections": 100, "stages": [{"seconds": 5.0, "from": 50.0, "to": 50.0}]},
            "targets": [
                {"weight": 3, "method": "GET", "url": "http://old:1/a"},
                {"weight": 1, "method": "PUT", "url": "http://old:1/b?c=d"},
            ],
        });
        change(&mut report);
        serde_json::from_value(report).unwrap()
    }

    #[test]
    fn every_difference_is_listed_with_both_values() {
        for (pointer, value, expected) in [
            (
                "/plan/spacing",
                json!({"poisson": {"seed": 1}}),
                r#"plan.spacing: "even" and "poisson""#,
            ),
            ("/plan/connections", json!(10), "plan.connections: 100 and 10"),
            (
                "/plan/stages/0/from",
                json!(20.0),
                "plan.stages[0].from: 50.0 and 20.0",
            ),
            (
                "/plan/stages",
                json!([]),
                r#"plan.stages: [{"from":50.0,"seconds":5.0,"to":50.0}] and []"#,
            ),
            (
                "/targets/0/weight",
                json!(2),
                r#"targets[0]: "3 GET http://host-1/a" and "2 GET http://host-1/a""#,
            ),
            (
                "/targets/1/url",
                json!("http://old:1/b?c=e"),
                r#"targets[1]: "1 PUT http://host-1/b?c=d" and "1 PUT http://host-1/b?c=e""#,
            ),
            (
                "/targets/1/url",
                json!("http://second:1/b?c=d"),
                r#"targets[1]: "1 PUT http://host-1/b?c=d" and "1 PUT http://host-2/b?c=d""#,
            ),
            (
                "/targets/0/url",
                json!("https://old:1/a"),
                r#"targets[0]: "3 GET http://host-1/a" and "3 GET https://host-1/a""#,
            ),
        ] {
            let other = load(|report| *report.pointer_mut(pointer).unwrap() = value.clone());
            let found = load(|_| ()).differences(&other);
            assert!(
                found.iter().any(|line| line == expected),
                "{found:#?} lacks {expected}"
            );
            assert!(load(|_| ()).differences(&load(|_| ())).is_empty());
        }
        let new_field = load(|report| report["plan"]["warm_up"] = json!(3));
        assert_eq!(load(|_| ()).differences(&new_field), ["plan.warm_up: null and 3"]);
        let stripes = load(|report| report["stripes"] = json!([{}, {}]));
        assert_eq!(load(|_| ()).differences(&stripes), ["stripes: 1 and 2"]);
    }

    #[test]
    fn the_address_of_the_server_and_the_seed_do_not_count() {
        let with = |seed: u64, host: &str| {
            load(|report| {
                report["plan"]["spacing"] = json!({"poisson": {"seed": seed}});
                report["targets"][0]["url"] = json!(format!("http://{host}/a"));
                report["targets"][1]["url"] = json!(format!("http://{host}/b?c=d"));
            })
        };
        assert!(
            with(1, "old:1")
                .differences(&with(2, "127.0.0.1:7000"))
                .is_empty()
        );
    }
}
