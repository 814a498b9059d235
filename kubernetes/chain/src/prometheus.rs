//! The configuration of Prometheus: the targets that its jobs keep, with their labels.

use std::time::Duration;

use serde_json::Value;

use crate::{
    component::Component,
    discovery::{endpoint_targets, pod_targets},
    objects::{list, namespace, text, title},
    relabel::{Labels, Relabelling},
};

pub use crate::discovery::Target;

/// Prometheus' default.
const DEFAULT_INTERVAL: Duration = Duration::from_mins(1);

/// Prometheus, as far as the objects contain it.
#[derive(Debug, Default)]
pub struct Prometheus<'objects> {
    /// The container with the flag `--config.file`.
    pub component: Option<Component<'objects>>,
    config: Option<Value>,
}

impl<'objects> Prometheus<'objects> {
    /// Finds the container and the configuration, a file with `scrape_configs`.
    ///
    /// # Errors
    /// If the container names a file that its ConfigMap does not have.
    pub fn find(objects: &'objects [Value]) -> Result<Self, String> {
        let is_config = |file: &Value| file["scrape_configs"].is_array();
        let (component, config) =
            Component::with_config(objects, "--config.file", "--config.file", is_config)?;
        Ok(Self { component, config })
    }

    /// Whether there is a configuration.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        self.config.is_some()
    }

    /// Returns the targets of one running pod of the workload, and for each other job the reason why it has no target.
    #[must_use]
    pub fn targets(
        &self,
        objects: &[Value],
        workload: &Value,
        template: &Value,
    ) -> (Vec<Target>, Vec<String>) {
        let (mut targets, mut reasons) = (Vec::new(), Vec::new());
        let config = self.config.as_ref().unwrap_or(&Value::Null);
        let global = interval(config, "/global/scrape_interval").unwrap_or(DEFAULT_INTERVAL);
        for job in list(config, "/scrape_configs") {
            let interval = interval(job, "/scrape_interval").unwrap_or(global);
            let job_name = format!("job {}", text(job, "/job_name"));
            for discovery in list(job, "/kubernetes_sd_configs") {
                let discovered = match text(discovery, "/role") {
                    "pod" => pod_targets(workload, template),
                    "endpoints" | "endpointslice" => endpoint_targets(objects, workload, template),
                    _ => continue,
                };
                if let Err(reason) = self.check_namespace(discovery, workload) {
                    reasons.push(format!("{job_name} {reason}"));
                    continue;
                }
                let relabelling = Relabelling::parse(list(job, "/relabel_configs"));
                let metric_rules = list(job, "/metric_relabel_configs");
                for labels in discovered {
                    let relabelled = relabelling
                        .as_ref()
                        .map_err(Clone::clone)
                        .and_then(|relabelling| relabelling.apply(with_defaults(job, labels)));
                    match relabelled {
                        Ok(labels) => targets.push(Target::new(
                            labels,
                            &job_name,
                            Some(interval),
                            metric_rules.to_vec(),
                        )),
                        Err(rule) => reasons.push(format!("{job_name}: {rule}")),
                    }
                }
            }
        }
        reasons.dedup();
        (targets, reasons)
    }

    /// Checks that a job discovers the pods of the namespace of a workload. Without the container, its own namespace is not
    /// known, so that any namespace is accepted.
    fn check_namespace(&self, discovery: &Value, workload: &Value) -> Result<(), String> {
        let mut names = list(discovery, "/namespaces/names").to_vec();
        if discovery.pointer("/namespaces/own_namespace") == Some(&Value::Bool(true)) {
            let own = self
                .component
                .map_or(namespace(workload), |component| component.own_namespace());
            names.push(Value::from(own));
        }
        if names.is_empty() || names.iter().any(|listed| listed == namespace(workload)) {
            return Ok(());
        }
        Err(format!(
            "discovers pods in {}, but {} is in {}",
            Value::from(names),
            title(workload),
            namespace(workload)
        ))
    }

    /// Checks that a Service selects the pods of Prometheus, if they are among the objects.
    pub(crate) fn check_selected_by(&self, service: &Value) -> Result<(), String> {
        self.component
            .map_or(Ok(()), |component| component.check_selected_by(service))
    }
}

fn interval(object: &Value, pointer: &str) -> Option<Duration> {
    humantime::parse_duration(text(object, pointer)).ok()
}

/// Adds the name, the path and the scheme of the job, which relabelling may change.
fn with_defaults(job: &Value, mut labels: Labels) -> Labels {
    for (label, field, default) in [
        ("__metrics_path__", "/metrics_path", "/metrics"),
        ("__scheme__", "/scheme", "http"),
        ("job", "/job_name", ""),
    ] {
        let value = match text(job, field) {
            "" => default,
            value => value,
        };
        labels.insert(label.to_owned(), value.to_owned());
    }
    labels
}
