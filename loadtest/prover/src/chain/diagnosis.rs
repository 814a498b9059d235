//! Diagnoses a metrics chain: finds the broken links from the evidence. Pure functions.

use std::collections::BTreeSet;

use wiring::Link;

use super::{
    evidence::{ChainOptions, Evidence, PrometheusStatus},
    links::{Diagnosis, LinkReport, LinkState},
};
use crate::cluster::{Hpa, PodState, ReadResult};

/// The maximum age of a sample or a scrape, in seconds.
const MAX_AGE_SECONDS: f64 = 30.0;

/// The maximum number of names that a message lists.
const MAX_NAMES: usize = 8;

/// The result of a check: a working link, a broken link and where to look, or the link that the check depends on.
enum Finding {
    Works(String),
    Broken(String, String),
    BlockedBy(Link),
}

use Finding::{BlockedBy, Broken, Works};

/// Checks each link. The first broken link is the root cause.
pub(crate) fn diagnose(evidence: &Evidence, options: &ChainOptions) -> Diagnosis {
    let checks: [(Link, Finding); 8] = [
        (Link::Hpa, check_hpa(evidence, options)),
        (Link::Pods, check_pods(evidence, options)),
        (Link::PrometheusScrape, check_scrape(evidence, options)),
        (Link::ServiceMetric, check_service_metric(evidence, options)),
        (Link::Apiservice, check_api_service(evidence)),
        (Link::AdapterRule, check_adapter_rule(evidence)),
        (Link::PodSamples, check_pod_samples(evidence)),
        (Link::HpaActive, check_hpa_active(evidence, options)),
    ];
    let link = |(link, finding)| match finding {
        Works(detail) => LinkReport {
            link,
            state: LinkState::Ok,
            detail,
            look_at: None,
        },
        Broken(detail, look_at) => LinkReport {
            link,
            state: LinkState::Broken,
            detail,
            look_at: Some(look_at),
        },
        BlockedBy(other) => LinkReport {
            link,
            state: LinkState::Unknown,
            detail: format!("unknown while `{other}` is broken"),
            look_at: None,
        },
    };
    Diagnosis {
        hpa: options.hpa.clone(),
        links: checks.into_iter().map(link).collect(),
    }
}

fn broken(detail: impl Into<String>, look_at: impl Into<String>) -> Finding {
    Broken(detail.into(), look_at.into())
}

fn hpa_of(evidence: &Evidence) -> Option<&Hpa> {
    evidence.hpa.as_ref().ok()?.as_ref()
}

fn check_hpa(evidence: &Evidence, options: &ChainOptions) -> Finding {
    let ChainOptions {
        namespace, hpa: name, ..
    } = options;
    let look_at = format!("kubectl -n {namespace} get hpa {name} -o yaml");
    match &evidence.hpa {
        Err(error) => broken(format!("the HPA {name} cannot be read: {error}"), look_at),
        Ok(None) => broken(
            format!("there is no HPA {name} in {namespace}"),
            format!("kubectl -n {namespace} get hpa"),
        ),
        Ok(Some(hpa)) => match &hpa.metric {
            Some(metric) => Works(format!(
                "{} scales {} on {}, {} per pod",
                hpa.name,
                hpa.target,
                metric.name,
                engine::units::short(metric.target_per_pod)
            )),
            None => broken(
                format!(
                    "{} has no metric of type Pods with an averageValue, only metrics of type: {}",
                    hpa.name,
                    hpa.metric_types.join(", ")
                ),
                look_at,
            ),
        },
    }
}

fn check_pods(evidence: &Evidence, options: &ChainOptions) -> Finding {
    let namespace = &options.namespace;
    let look_at =
        format!("kubectl -n {namespace} get deployments,pods; kubectl -n {namespace} describe pods");
    let (Some(hpa), Some(workload)) = (hpa_of(evidence), &evidence.workload) else {
        return BlockedBy(Link::Hpa);
    };
    let workload = match workload {
        Err(error) => return broken(format!("{} cannot be read: {error}", hpa.target), look_at),
        Ok(None) => {
            return broken(
                format!("{} does not exist, but {} scales it", hpa.target, hpa.name),
                look_at,
            );
        }
        Ok(Some(workload)) => workload,
    };
    let pods = match &evidence.pods {
        Some(Ok(pods)) => pods,
        Some(Err(error)) => {
            return broken(
                format!("the pods of {} cannot be listed: {error}", hpa.target),
                look_at,
            );
        }
        None => return BlockedBy(Link::Hpa),
    };
    let ready = only_ready(pods).count();
    let not_ready: Vec<String> = pods
        .iter()
        .filter(|pod| !pod.ready && !pod.terminating)
        .map(|pod| {
            format!(
                "{} ({})",
                pod.name,
                pod.not_ready_reason.as_deref().unwrap_or("not ready")
            )
        })
        .collect();
    let wanted = usize::try_from(workload.replicas).unwrap_or(0);
    if ready == 0 || ready < wanted {
        let which = if not_ready.is_empty() {
            String::new()
        } else {
            format!(": {}", list_names(&not_ready))
        };
        return broken(
            format!("{ready} of {wanted} pods of {} are ready{which}", hpa.target),
            look_at,
        );
    }
    Works(format!("{ready} of {wanted} pods of {} are ready", hpa.target))
}

fn only_ready(pods: &[PodState]) -> impl Iterator<Item = &PodState> {
    pods.iter().filter(|pod| pod.ready && !pod.terminating)
}

/// Returns the names of the ready pods.
fn ready_pod_names(evidence: &Evidence) -> Result<Vec<&str>, Finding> {
    match &evidence.pods {
        Some(Ok(pods)) if only_ready(pods).next().is_some() => {
            Ok(only_ready(pods).map(|pod| pod.name.as_str()).collect())
        }
        _ => Err(BlockedBy(Link::Pods)),
    }
}

fn check_scrape(evidence: &Evidence, options: &ChainOptions) -> Finding {
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
    let mut problems = Vec::new();
    for pod in &pods {
        match prometheus.targets.get(*pod) {
            None => problems.push(format!("pod {pod} is not a target")),
            Some(target) if !target.up => problems.push(format!("the scrapes of pod {pod} fail")),
            Some(target) if target.age > MAX_AGE_SECONDS => {
                problems.push(format!("pod {pod} was scraped {:.0} s ago", target.age));
            }
            Some(_) => {}
        }
    }
    if problems.is_empty() {
        return Works(format!(
            "Prometheus scrapes {} of {} ready pods",
            pods.len(),
            pods.len()
        ));
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

fn check_service_metric(evidence: &Evidence, options: &ChainOptions) -> Finding {
    let (Ok(prometheus), Ok(pods)) = (&evidence.prometheus, ready_pod_names(evidence)) else {
        return BlockedBy(Link::PrometheusScrape);
    };
    let targets: Vec<&str> = pods
        .into_iter()
        .filter(|pod| prometheus.targets.get(*pod).is_some_and(|target| target.up))
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
        return Works(format!("{} pods export {series}", targets.len()));
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

fn check_api_service(evidence: &Evidence) -> Finding {
    let look_at =
        "kubectl get apiservice v1beta1.custom.metrics.k8s.io -o yaml; the adapter's pods and their logs";
    let registration = match &evidence.registration {
        Err(error) => return broken(format!("the APIService cannot be read: {error}"), look_at),
        Ok(None) => {
            return broken(
                "there is no APIService v1beta1.custom.metrics.k8s.io: no adapter is installed",
                look_at,
            );
        }
        Ok(Some(registration)) => registration,
    };
    if registration.insecure_skip_tls_verify {
        return broken(
            "the APIService has insecureSkipTLSVerify: any server could pose as the adapter",
            look_at,
        );
    }
    if !registration.has_ca_bundle {
        return broken(
            "the APIService has no caBundle: the adapter's certificate cannot be verified",
            look_at,
        );
    }
    let condition = registration.available.clone().unwrap_or_default();
    let failed_call = evidence.offered_metrics.as_ref().err().map(ToString::to_string);
    let detail = match (&failed_call, condition.holds) {
        (None, true) => {
            return Works(format!(
                "the API server reaches {} over verified TLS",
                registration.service
            ));
        }
        (Some(error), true) => format!("the API returns an error: {error}"),
        (_, false) => format!("not available: {}: {}", condition.reason, condition.message),
    };
    let messages = format!("{detail} {}", failed_call.unwrap_or_default());
    if messages.contains("x509") {
        return broken(
            format!("wrong CA bundle: {detail}"),
            "spec.caBundle of the APIService: compare it with the authority that signed the adapter's certificate",
        );
    }
    broken(detail, look_at)
}

fn check_adapter_rule(evidence: &Evidence) -> Finding {
    let Some(metric) = hpa_of(evidence).and_then(|hpa| hpa.metric.as_ref()) else {
        return BlockedBy(Link::Hpa);
    };
    let Ok(offered) = &evidence.offered_metrics else {
        return BlockedBy(Link::Apiservice);
    };
    let name = &metric.name;
    if offered.contains(name) {
        return Works(format!("the adapter offers {name} for pods"));
    }
    if offered.is_empty() {
        return broken(
            format!("the HPA asks for {name}, but the adapter offers no pod metric"),
            "the adapter's rules: the series in each query, and whether the series has the labels namespace and pod",
        );
    }
    broken(
        format!(
            "the HPA asks for {name}, but the adapter offers {}",
            list_names(offered)
        ),
        "the metric name in the HPA and in the adapter's rule: make them equal",
    )
}

fn check_pod_samples(evidence: &Evidence) -> Finding {
    let pods = match ready_pod_names(evidence) {
        Ok(pods) => pods,
        Err(needs) => return needs,
    };
    let look_at = "the adapter's rule (run its query in Prometheus) and the adapter's logs";
    let samples: &ReadResult<_> = match &evidence.samples {
        Some(samples) => samples,
        None => return BlockedBy(Link::Hpa),
    };
    let samples = match samples {
        Ok(samples) => samples,
        Err(error) => return broken(format!("the metric has no value: {error}"), look_at),
    };
    let age = |at: jiff::Timestamp| evidence.now.duration_since(at).as_secs_f64();
    let mut problems = Vec::new();
    for pod in &pods {
        match samples.iter().find(|sample| sample.pod == *pod) {
            None => problems.push(format!("pod {pod} has no value")),
            Some(sample) => {
                if let Some(old) = sample.at.map(age).filter(|age| *age > MAX_AGE_SECONDS) {
                    problems.push(format!("the value of pod {pod} is {old:.0} s old"));
                }
            }
        }
    }
    if problems.is_empty() {
        Works(format!("{} ready pods have a fresh value", pods.len()))
    } else {
        broken(list_names(&problems), look_at)
    }
}

fn check_hpa_active(evidence: &Evidence, options: &ChainOptions) -> Finding {
    let Some(hpa) = hpa_of(evidence) else {
        return BlockedBy(Link::Hpa);
    };
    let look_at = format!(
        "kubectl -n {} describe hpa {}; the HPA controller's permission to read custom metrics",
        options.namespace, hpa.name
    );
    match hpa.condition("ScalingActive") {
        None => broken("the HPA controller has not processed the HPA yet", look_at),
        Some(condition) if condition.holds => Works(format!("ScalingActive: {}", condition.reason)),
        Some(condition) => broken(
            format!("not ScalingActive: {}: {}", condition.reason, condition.message),
            look_at,
        ),
    }
}

/// Lists the first [`MAX_NAMES`] names and the number of the others.
fn list_names<T: AsRef<str>>(names: &[T]) -> String {
    let shown: Vec<&str> = names.iter().take(MAX_NAMES).map(AsRef::as_ref).collect();
    let more = names.len().saturating_sub(MAX_NAMES);
    match (shown.is_empty(), more) {
        (true, _) => "nothing".to_owned(),
        (false, 0) => shown.join(", "),
        (false, more) => format!("{} and {more} more", shown.join(", ")),
    }
}
