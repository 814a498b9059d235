//! The checks of the links to Prometheus: it scrapes the pods, and the pods export the series.

use std::collections::BTreeSet;

use wiring::Link;

use super::{
    evidence::{ChainOptions, Evidence, PrometheusStatus, TargetStatus},
    finding::{
        Finding::{self, BlockedBy},
        broken, describe_interval, list_names, max_age_seconds, ready_pod_names, works,
    },
};

pub(super) fn check_scrape(evidence: &Evidence, options: &ChainOptions) -> Finding {
    let service = &options.prometheus;
    let look_at = format!(
        "Prometheus' targets page (/targets of {}/{}), its scrape configuration, and its permission to list pods",
        service.namespace, service.name
    );
    let prometheus = match &evidence.prometheus {
        Ok(prometheus) => prometheus,
        Err(error) => {
            let detail = format!(
                "Prometheus cannot be queried at {}/{}:{}: {error}",
                service.namespace, service.name, service.port
            );
            return broken(
                detail,
                "the Prometheus pod and its Service; use --prometheus if the Service has another name",
            );
        }
    };
    let pods = match ready_pod_names(evidence) {
        Ok(pods) => pods,
        Err(needs) => return needs,
    };
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    for pod in &pods {
        let targets = prometheus.targets_of(pod);
        if targets.is_empty() {
            problems.push(format!("pod {pod} is not a target"));
        }
        let deliverers = prometheus.deliverers(pod);
        for target in targets {
            let by = if targets.len() > 1 {
                format!(" by job {}", target.job)
            } else {
                String::new()
            };
            // Other ports of the pod need not serve metrics.
            let is_required = deliverers
                .iter()
                .any(|deliverer| deliverer.instance == target.instance);
            if !target.up && is_required {
                problems.push(format!("the scrapes of pod {pod}{by} fail"));
            } else if !target.up {
                warnings.push(format!(
                    "the scrapes of pod {pod}{by} fail at {}, which does not export {}",
                    target.instance, options.series
                ));
            } else if deliverers.contains(&target) {
                problems.extend(describe_age(evidence, pod, target, &by));
            }
        }
    }
    if problems.is_empty() {
        let detail = format!("Prometheus scrapes {} of {} ready pods", pods.len(), pods.len());
        return Finding::Works(detail, warnings);
    }
    let what = if prometheus.targets.is_empty() {
        format!("any pod of {}", options.namespace)
    } else {
        "every pod".to_owned()
    };
    broken(
        format!("Prometheus is not scraping {what}: {}", list_names(&problems)),
        look_at,
    )
}

/// Explains that the last scrape, or the series that it delivered, is too old.
fn describe_age(evidence: &Evidence, pod: &str, target: &TargetStatus, by: &str) -> Option<String> {
    let age = target.series_age.unwrap_or(target.age);
    let interval = evidence.interval_of(pod, target);
    (age > max_age_seconds(interval)).then(|| {
        format!(
            "pod {pod} was scraped{by} {age:.0} s ago; {}",
            describe_interval(interval)
        )
    })
}

pub(super) fn check_service_metric(evidence: &Evidence, options: &ChainOptions) -> Finding {
    let (Ok(prometheus), Ok(pods)) = (&evidence.prometheus, ready_pod_names(evidence)) else {
        return BlockedBy(Link::PrometheusScrape);
    };
    let targets: Vec<&str> = pods
        .into_iter()
        .filter(|pod| prometheus.targets_of(pod).iter().any(|target| target.up))
        .collect();
    if targets.is_empty() {
        return BlockedBy(Link::PrometheusScrape);
    }
    let series = &options.series;
    let missing: Vec<&str> = targets
        .iter()
        .copied()
        .filter(|pod| !prometheus.exporting_pods.contains(*pod))
        .collect();
    if missing.is_empty() {
        return works(format!("{} pods export {series}", targets.len()));
    }
    broken(
        format!(
            "{} are scraped but do not export {series}; they export {}",
            list_names(&missing),
            list_exported_metrics(prometheus, series)
        ),
        format!(
            "the metric name in the service (curl its /metrics); use --series if the series is not {series}"
        ),
    )
}

/// Lists the exported metrics, starting with the names that are most similar to `series`.
fn list_exported_metrics(prometheus: &PrometheusStatus, series: &str) -> String {
    let own = |name: &&String| {
        !["go_", "process_", "scrape_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
            && name.as_str() != "up"
    };
    let words: BTreeSet<&str> = series.split('_').collect();
    let mut names: Vec<&String> = prometheus.metric_names.iter().filter(own).collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.split('_').filter(|word| words.contains(word)).count()));
    list_names(&names)
}
