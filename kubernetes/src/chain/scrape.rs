//! Prometheus' side of the chain: the targets that its configuration discovers, and their labels.
//!
//! <https://prometheus.io/docs/prometheus/latest/configuration/configuration/#relabel_config>

use super::component::Component;
use crate::objects::{self, containers, labels, list, name, namespace, text, title};
use regex::{Captures, Regex};
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};

/// The Prometheus of the rendered objects, and its configuration.
pub struct Prometheus<'objects> {
    /// The container with the flag `--config.file`.
    pub component: Component<'objects>,
    config: Value,
}

/// A scrape target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The labels that Prometheus adds to every sample of the target.
    pub labels: BTreeMap<String, String>,
    /// The port of the scrape.
    pub port: u64,
    /// The path of the scrape.
    pub path: String,
}

impl<'objects> Prometheus<'objects> {
    /// Finds Prometheus and reads its configuration.
    ///
    /// # Errors
    /// Names the missing part.
    pub fn find(objects: &'objects [Value]) -> Result<Self, String> {
        let component = Component::with_flag(objects, "--config.file")
            .ok_or("no Prometheus: no container has the flag --config.file")?;
        let config = component.file_of(objects, "--config.file")?;
        Ok(Self { component, config })
    }

    /// Returns the global scrape interval.
    #[must_use]
    pub fn scrape_interval(&self) -> Duration {
        // Prometheus' default.
        humantime::parse_duration(text(&self.config, "/global/scrape_interval"))
            .unwrap_or(Duration::from_mins(1))
    }

    /// Returns the targets of one running pod of the workload: one for each port that the relabelling rules keep.
    ///
    /// # Errors
    /// If there is no target. Names the rules that drop each port.
    pub fn targets(&self, workload: &Value) -> Result<Vec<Target>, String> {
        let template =
            objects::pod_template(workload).ok_or_else(|| format!("{} creates no pods", title(workload)))?;
        let mut targets = Vec::new();
        let mut reasons = Vec::new();
        for job in list(&self.config, "/scrape_configs") {
            let job_name = text(job, "/job_name");
            for discovery in list(job, "/kubernetes_sd_configs") {
                let mut namespaces = list(discovery, "/namespaces/names").to_vec();
                if discovery.pointer("/namespaces/own_namespace") == Some(&Value::Bool(true)) {
                    namespaces.push(Value::from(self.component.own_namespace()));
                }
                if text(discovery, "/role") != "pod" {
                    continue;
                }
                if !namespaces.is_empty() && !namespaces.iter().any(|listed| listed == namespace(workload)) {
                    reasons.push(format!(
                        "job {job_name} discovers pods in {}",
                        Value::from(namespaces)
                    ));
                    continue;
                }
                for discovered in discovered(job, workload, template) {
                    match relabel(list(job, "/relabel_configs"), discovered) {
                        Ok(labels) => targets.push(Target::from_labels(labels)?),
                        Err(rule) => reasons.push(format!("job {job_name}: {rule}")),
                    }
                }
            }
        }
        if targets.is_empty() {
            let reasons = reasons.join("; ");
            return Err(format!(
                "no job scrapes the pods of {}: {reasons}",
                title(workload)
            ));
        }
        Ok(targets)
    }
}

impl Target {
    fn from_labels(mut labels: BTreeMap<String, String>) -> Result<Self, String> {
        let address = labels.remove("__address__").unwrap_or_default();
        let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let port = port.ok_or_else(|| format!("the address {address:?} has no port"))?;
        let path = labels.remove("__metrics_path__").unwrap_or_default();
        labels.retain(|label, value| !label.starts_with("__") && !value.is_empty());
        Ok(Self { labels, port, path })
    }
}

/// Returns the labels that discovery sets for each port of a running pod.
fn discovered(job: &Value, workload: &Value, template: &Value) -> Vec<BTreeMap<String, String>> {
    const META: &str = "__meta_kubernetes";
    let path = match text(job, "/metrics_path") {
        "" => "/metrics",
        path => path,
    };
    let mut pod = BTreeMap::from([
        ("__metrics_path__".to_owned(), path.to_owned()),
        (format!("{META}_namespace"), namespace(workload).to_owned()),
        (format!("{META}_pod_name"), format!("{}-0", name(workload))),
        (format!("{META}_pod_phase"), "Running".to_owned()),
        (format!("{META}_pod_ready"), "true".to_owned()),
        (format!("{META}_pod_ip"), "198.51.100.1".to_owned()),
    ]);
    for field in ["label", "annotation"] {
        for (key, value) in labels(template, &format!("/metadata/{field}s")) {
            let key = key.replace(|character: char| !character.is_ascii_alphanumeric(), "_");
            pod.insert(format!("{META}_pod_{field}_{key}"), value);
            pod.insert(format!("{META}_pod_{field}present_{key}"), "true".to_owned());
        }
    }
    let ports = containers(template).flat_map(|container| {
        list(container, "/ports")
            .iter()
            .map(move |port| (container, port))
    });
    ports
        .map(|(container, port)| {
            let number = port
                .get("containerPort")
                .and_then(Value::as_u64)
                .unwrap_or_default();
            let mut labels = pod.clone();
            labels.extend([
                ("__address__".to_owned(), format!("198.51.100.1:{number}")),
                (
                    format!("{META}_pod_container_name"),
                    text(container, "/name").to_owned(),
                ),
                (
                    format!("{META}_pod_container_port_name"),
                    text(port, "/name").to_owned(),
                ),
                (format!("{META}_pod_container_port_number"), number.to_string()),
            ]);
            labels
        })
        .collect()
}

/// Applies relabelling rules. The error names the rule that drops the target, or an action that this check does not support.
fn relabel(
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
            "keep" | "drop" => {}
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
            _ => return Err(format!("this check does not support the action {action}")),
        }
    }
    Ok(labels)
}

fn expand(captures: &Captures<'_>, template: &str) -> String {
    let mut expanded = String::new();
    captures.expand(template, &mut expanded);
    expanded
}
