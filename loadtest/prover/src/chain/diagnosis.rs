//! From what is known of a chain to the link that is to be mended. Pure.

use std::collections::BTreeSet;

use wiring::Link;

use super::{
    evidence::{ChainOptions, Evidence, Known, PrometheusStatus},
    links::{Diagnosis, LinkReport, LinkState},
};
use crate::cluster::{Hpa, PodState};

/// The oldest that a sample or a scrape may be, in seconds.
const FRESH_SECONDS: f64 = 30.0;

/// How many names a text lists.
const NAMES_LISTED: usize = 8;

/// What a check finds: what holds, or what is broken and where to look, or what it cannot do without.
enum Finding {
    Works(String),
    Broken(String, String),
    BlockedBy(Link),
}

use Finding::{Broken, Works, BlockedBy};

/// Judges each link by itself; the first broken one is the cause.
pub(crate) fn diagnose(evidence: &Evidence, options: &ChainOptions) -> Diagnosis {
    let checks: [(Link, Finding); 8] = [
        (Link::Hpa, hpa(evidence, options)),
        (Link::Pods, pods(evidence, options)),
        (Link::PrometheusScrape, scrape(evidence, options)),
        (Link::ServiceMetric, service_metric(evidence, options)),
        (Link::Apiservice, api_service(evidence)),
        (Link::AdapterRule, adapter_rule(evidence)),
        (Link::PodSamples, pod_samples(evidence)),
        (Link::HpaActive, hpa_active(evidence)),
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
            detail: format!("cannot be told while `{other}` is broken"),
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

fn found_hpa(evidence: &Evidence) -> Option<&Hpa> {
    evidence.hpa.as_ref().ok()?.as_ref()
}

fn hpa(evidence: &Evidence, options: &ChainOptions) -> Finding {
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
                "{} scales {} on {}, {} for each pod",
                hpa.name,
                hpa.target,
                metric.name,
                engine::units::short(metric.target_per_pod)
            )),
            None => broken(
                format!(
                    "{} scales on no metric of type Pods with an average value, only on: {}",
                    hpa.name,
                    hpa.metric_types.join(", ")
                ),
                look_at,
            ),
        },
    }
}

fn pods(evidence: &Evidence, options: &ChainOptions) -> Finding {
    let namespace = &options.namespace;
    let look_at =
        format!("kubectl -n {namespace} get deployments,pods; kubectl -n {namespace} describe pods");
    let (Some(hpa), Some(workload)) = (found_hpa(evidence), &evidence.workload) else {
        return BlockedBy(Link::Hpa);
    };
    let workload = match workload {
        Err(error) => return broken(format!("{} cannot be read: {error}", hpa.target), look_at),
        Ok(None) => {
            return broken(
                format!("{} does not exist, which {} scales", hpa.target, hpa.name),
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
    let ready = ready(pods).count();
    let trouble: Vec<String> = pods
        .iter()
        .filter(|pod| !pod.ready && !pod.terminating)
        .map(|pod| format!("{} ({})", pod.name, pod.not_ready_reason.as_deref().unwrap_or("not ready")))
        .collect();
    let wanted = usize::try_from(workload.replicas).unwrap_or(0);
    if ready == 0 || ready < wanted {
        let which = if trouble.is_empty() {
            String::new()
        } else {
            format!(": {}", listed(&trouble))
        };
        return broken(
            format!("{ready} of {wanted} pods of {} are ready{which}", hpa.target),
            look_at,
        );
    }
    Works(format!("{ready} of {wanted} pods of {} are ready", hpa.target))
}

fn ready(pods: &[PodState]) -> impl Iterator<Item = &PodState> {
    pods.iter().filter(|pod| pod.ready && !pod.terminating)
}

/// The ready pods, for the links that look at each of them.
fn known_pods(evidence: &Evidence) -> Result<Vec<&str>, Finding> {
    match &evidence.pods {
        Some(Ok(pods)) if ready(pods).next().is_some() => {
            Ok(ready(pods).map(|pod| pod.name.as_str()).collect())
        }
        _ => Err(BlockedBy(Link::Pods)),
    }
}

fn scrape(evidence: &Evidence, options: &ChainOptions) -> Finding {
    let service = &options.prometheus;
    let look_at = format!(
        "Prometheus' targets page (/targets of {}/{}), its scrape configuration, and its permission to list pods",
        service.namespace, service.name
    );
    let scraped = match &evidence.scraped {
        Ok(scraped) => scraped,
        Err(error) => {
            let detail = format!(
                "Prometheus cannot be asked at {}/{}:{}: {error}",
                service.namespace, service.name, service.port
            );
            return broken(
                detail,
                "the Prometheus pod and its Service; --prometheus where they have another name",
            );
        }
    };
    let pods = match known_pods(evidence) {
        Ok(pods) => pods,
        Err(needs) => return needs,
    };
    let mut trouble = Vec::new();
    for pod in &pods {
        match scraped.pods.get(*pod) {
            None => trouble.push(format!("pod {pod} is no target")),
            Some(scrape) if !scrape.up => trouble.push(format!("the scrapes of pod {pod} fail")),
            Some(scrape) if scrape.age > FRESH_SECONDS => {
                trouble.push(format!("pod {pod} was scraped {:.0} s ago", scrape.age));
            }
            Some(_) => {}
        }
    }
    if trouble.is_empty() {
        return Works(format!(
            "Prometheus scrapes {} of {} ready pods",
            pods.len(),
            pods.len()
        ));
    }
    let what = if scraped.pods.is_empty() {
        format!("any pod of {}", options.namespace)
    } else {
        "every pod".to_owned()
    };
    broken(
        format!("Prometheus is not scraping {what}: {}", listed(&trouble)),
        look_at,
    )
}

fn service_metric(evidence: &Evidence, options: &ChainOptions) -> Finding {
    let (Ok(scraped), Ok(pods)) = (&evidence.scraped, known_pods(evidence)) else {
        return BlockedBy(Link::PrometheusScrape);
    };
    let targets: Vec<&str> = pods
        .into_iter()
        .filter(|pod| scraped.pods.get(*pod).is_some_and(|scrape| scrape.up))
        .collect();
    if targets.is_empty() {
        return BlockedBy(Link::PrometheusScrape);
    }
    let series = &options.series;
    let missing: Vec<&str> = targets
        .iter()
        .copied()
        .filter(|pod| !scraped.exporting.contains(*pod))
        .collect();
    if missing.is_empty() {
        return Works(format!("{} pods export {series}", targets.len()));
    }
    broken(
        format!(
            "{} are scraped but do not export {series}; they export {}",
            listed(&missing),
            exported(scraped, series)
        ),
        format!(
            "the name of the metric in the service (curl its /metrics), or --series where {series} is not the one"
        ),
    )
}

/// What is exported, the likely ones first.
fn exported(scraped: &PrometheusStatus, series: &str) -> String {
    let own = |name: &&String| {
        !["go_", "process_", "scrape_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
            && name.as_str() != "up"
    };
    let words: BTreeSet<&str> = series.split('_').collect();
    let mut names: Vec<&String> = scraped.names.iter().filter(own).collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.split('_').filter(|word| words.contains(word)).count()));
    listed(&names)
}

fn api_service(evidence: &Evidence) -> Finding {
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
            "the APIService has insecureSkipTLSVerify: anybody could answer for the adapter",
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
    let failed_call = evidence.offered.as_ref().err().map(ToString::to_string);
    let detail = match (&failed_call, condition.holds) {
        (None, true) => {
            return Works(format!(
                "the API server reaches {} over verified TLS",
                registration.service
            ));
        }
        (Some(error), true) => format!("the API answers with an error: {error}"),
        (_, false) => format!("not available: {}: {}", condition.reason, condition.message),
    };
    let everything = format!("{detail} {}", failed_call.unwrap_or_default());
    if everything.contains("x509") {
        return broken(
            format!("wrong CA bundle: {detail}"),
            "spec.caBundle of the APIService against the authority that signed the adapter's certificate",
        );
    }
    broken(detail, look_at)
}

fn adapter_rule(evidence: &Evidence) -> Finding {
    let Some(metric) = found_hpa(evidence).and_then(|hpa| hpa.metric.as_ref()) else {
        return BlockedBy(Link::Hpa);
    };
    let Ok(offered) = &evidence.offered else {
        return BlockedBy(Link::Apiservice);
    };
    let name = &metric.name;
    if offered.contains(name) {
        return Works(format!("the adapter offers {name} for pods"));
    }
    if offered.is_empty() {
        return broken(
            format!("the HPA asks for {name}, and the adapter offers no metric of pods at all"),
            "the adapter's rules: the series they ask for, and whether it has the labels namespace and pod",
        );
    }
    broken(
        format!("the HPA asks for {name}, the adapter offers {}", listed(offered)),
        "rename the metric in the HPA, or in the adapter's rule",
    )
}

fn pod_samples(evidence: &Evidence) -> Finding {
    let pods = match known_pods(evidence) {
        Ok(pods) => pods,
        Err(needs) => return needs,
    };
    let look_at = "the adapter's rule (its query, by hand in Prometheus) and its logs";
    let samples: &ReadResult<_> = match &evidence.samples {
        Some(samples) => samples,
        None => return BlockedBy(Link::Hpa),
    };
    let samples = match samples {
        Ok(samples) => samples,
        Err(error) => return broken(format!("the metric has no value: {error}"), look_at),
    };
    let age = |at: jiff::Timestamp| evidence.now.duration_since(at).as_secs_f64();
    let mut trouble = Vec::new();
    for pod in &pods {
        match samples.iter().find(|sample| sample.pod == *pod) {
            None => trouble.push(format!("pod {pod} has no value")),
            Some(sample) => {
                if let Some(old) = sample.at.map(age).filter(|age| *age > FRESH_SECONDS) {
                    trouble.push(format!("the value of pod {pod} is {old:.0} s old"));
                }
            }
        }
    }
    if trouble.is_empty() {
        Works(format!("{} ready pods have a fresh value", pods.len()))
    } else {
        broken(listed(&trouble), look_at)
    }
}

fn hpa_active(evidence: &Evidence) -> Finding {
    let Some(hpa) = found_hpa(evidence) else {
        return BlockedBy(Link::Hpa);
    };
    let look_at = format!(
        "kubectl describe hpa {}; the permission of the HPA controller to read custom metrics",
        hpa.name
    );
    match hpa.condition("ScalingActive") {
        None => broken("the HPA controller has not looked at it yet", look_at),
        Some(condition) if condition.holds => Works(format!("ScalingActive: {}", condition.reason)),
        Some(condition) => broken(
            format!("not ScalingActive: {}: {}", condition.reason, condition.message),
            look_at,
        ),
    }
}

/// The first few, and how many more.
fn listed<T: AsRef<str>>(names: &[T]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMES_LISTED).map(AsRef::as_ref).collect();
    let more = names.len().saturating_sub(NAMES_LISTED);
    match (shown.is_empty(), more) {
        (true, _) => "nothing".to_owned(),
        (false, 0) => shown.join(", "),
        (false, more) => format!("{} and {more} more", shown.join(", ")),
    }
}
