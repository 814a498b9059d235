//! An HPA: its metrics, and what makes the API server or the controller reject it.

use serde_json::Value;
use wiring::Link;

use crate::{
    notes::Notes,
    objects::{list, name, text, title},
    removed_versions,
};

/// A metric of an HPA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metric {
    /// The name in the metrics API.
    pub(crate) name: String,
    /// The source of the metric.
    pub(crate) source: Source,
    /// The target, as in `50 per pod`; `None` if the HPA has none that the controller can use.
    target: Option<String>,
}

/// The source of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The pods that the HPA scales.
    Pods,
    /// Another object, by the name of its resource, such as `ingress`.
    Object(String),
    /// No object of Kubernetes.
    External,
    /// The CPU or memory of the pods.
    Resource {
        /// Whether the target is a share of the pods' requests.
        of_requests: bool,
    },
}

/// Returns the metrics of an HPA.
pub(crate) fn metrics(hpa: &Value) -> Vec<Metric> {
    if let Some(target) = hpa.pointer("/spec/targetCPUUtilizationPercentage") {
        // autoscaling/v1
        return vec![Metric {
            name: "cpu".to_owned(),
            source: Source::Resource { of_requests: true },
            target: Some(format!("{target} % of the requests")),
        }];
    }
    list(hpa, "/spec/metrics").iter().filter_map(metric).collect()
}

fn metric(metric: &Value) -> Option<Metric> {
    let (field, source) = match text(metric, "/type") {
        "Pods" => ("pods", Source::Pods),
        "Object" => {
            let described = ["describedObject", "target"]
                .map(|field| text(metric, &format!("/object/{field}/kind")).to_lowercase());
            let kind = described
                .into_iter()
                .find(|kind| !kind.is_empty())
                .unwrap_or_default();
            ("object", Source::Object(kind))
        }
        "External" => ("external", Source::External),
        "Resource" | "ContainerResource" => {
            let field = if text(metric, "/type") == "Resource" {
                "resource"
            } else {
                "containerResource"
            };
            let of_requests = metric
                .pointer(&format!("/{field}/target/averageUtilization"))
                .is_some();
            (field, Source::Resource { of_requests })
        }
        _ => return None,
    };
    let of = metric.get(field)?;
    // The field names of autoscaling/v2, and of the removed v2beta1.
    let names = ["/metric/name", "/metricName", "/name"].map(|pointer| text(of, pointer));
    Some(Metric {
        name: names
            .into_iter()
            .find(|name| !name.is_empty())
            .unwrap_or_default()
            .to_owned(),
        target: target(of, &source),
        source,
    })
}

fn target(of: &Value, source: &Source) -> Option<String> {
    let number = |pointers: &[&str]| {
        let found = pointers.iter().find_map(|pointer| of.pointer(pointer))?;
        Some(found.as_str().map_or(found.to_string(), str::to_owned))
    };
    let average = number(&["/target/averageValue", "/targetAverageValue"]);
    let average = average.map(|value| format!("{value} per pod"));
    match source {
        Source::Pods => average,
        Source::Object(_) | Source::External => average.or(number(&["/target/value", "/targetValue"])),
        Source::Resource { .. } => average.or_else(|| {
            let share = number(&["/target/averageUtilization", "/targetAverageUtilization"])?;
            Some(format!("{share} % of the requests"))
        }),
    }
}

/// Checks the fields of an HPA.
pub(crate) fn check(hpa: &Value, metrics: &[Metric], notes: &mut Notes) {
    notes.all_broken(Link::Hpa, removed_versions::problem(hpa));
    let bound = |field, default| hpa.pointer(field).and_then(Value::as_u64).unwrap_or(default);
    let (least, most) = (bound("/spec/minReplicas", 1), bound("/spec/maxReplicas", 0));
    if most < least {
        notes.broken(
            Link::Hpa,
            format!("minReplicas {least} is above maxReplicas {most}"),
        );
    }
    if metrics.is_empty() {
        notes.broken(
            Link::Hpa,
            format!("{} has no metric that this check knows", title(hpa)),
        );
    }
    let scaled = format!(
        "{}/{}",
        text(hpa, "/spec/scaleTargetRef/kind"),
        text(hpa, "/spec/scaleTargetRef/name")
    );
    for Metric {
        name: metric,
        target,
        source,
    } in metrics
    {
        match target {
            Some(target) => notes.works(
                Link::Hpa,
                format!("{} scales {scaled} on {metric}, {target}", name(hpa)),
            ),
            None if *source == Source::Pods => {
                notes.broken(Link::Hpa, format!("the target of {metric} has no averageValue"));
            }
            None => notes.broken(Link::Hpa, format!("{metric} has no target")),
        }
    }
}
