//! Diagnoses a metrics chain: finds the broken links from the evidence. Pure functions.

use wiring::{
    Link,
    diagnosis::{Diagnosis, LinkReport, LinkState},
};

use super::{
    adapter_checks::{check_adapter_rule, check_api_service, check_pod_samples},
    evidence::{ChainOptions, Evidence},
    external_checks,
    finding::{
        Finding::{self, BlockedBy, Broken, NotChecked, Works},
        broken, hpa_of, list_names, only_ready, works,
    },
    prometheus_checks::{check_scrape, check_service_metric},
};

/// Checks each link. The first broken link is the root cause.
pub(crate) fn diagnose(evidence: &Evidence, options: &ChainOptions) -> Diagnosis {
    let [scrape, service_metric, adapter_rule, samples] = match &evidence.external {
        Some(external) => {
            let not_checked = || NotChecked("an external metric can come from any source".to_owned());
            let metric = external_checks::check_metric(external, options);
            let value = external_checks::check_value(external, evidence.now);
            [not_checked(), not_checked(), metric, value]
        }
        None => [
            check_scrape(evidence, options),
            check_service_metric(evidence, options),
            check_adapter_rule(evidence),
            check_pod_samples(evidence),
        ],
    };
    let checks: [(Link, Finding); 8] = [
        (Link::Hpa, check_hpa(evidence, options)),
        (Link::Pods, check_pods(evidence, options)),
        (Link::PrometheusScrape, scrape),
        (Link::ServiceMetric, service_metric),
        (Link::Apiservice, check_api_service(evidence)),
        (Link::AdapterRule, adapter_rule),
        (Link::PodSamples, samples),
        (Link::HpaActive, check_hpa_active(evidence, options)),
    ];
    let link = |(link, finding)| match finding {
        Works(detail, warnings) => LinkReport {
            link,
            state: LinkState::Ok,
            detail,
            look_at: None,
            warnings,
        },
        Broken(detail, look_at) => LinkReport {
            link,
            state: LinkState::Broken,
            detail,
            look_at: Some(look_at),
            warnings: Vec::new(),
        },
        NotChecked(detail) => LinkReport {
            link,
            state: LinkState::NotChecked,
            detail,
            look_at: None,
            warnings: Vec::new(),
        },
        BlockedBy(other) => LinkReport {
            link,
            state: LinkState::Unknown,
            detail: format!("unknown while `{other}` is broken"),
            look_at: None,
            warnings: Vec::new(),
        },
    };
    Diagnosis {
        hpa: options.hpa.clone(),
        links: checks.into_iter().map(link).collect(),
    }
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
        Ok(Some(hpa)) => match (&hpa.metric, &hpa.external_metric) {
            (Some(metric), _) => works(format!(
                "{} scales {} on {}, {} per pod",
                hpa.name,
                hpa.target,
                metric.name,
                engine::units::short(metric.target_per_pod)
            )),
            (None, Some(metric)) => works(format!(
                "{} scales {} on the external metric {}, {}",
                hpa.name,
                hpa.target,
                metric.name,
                metric.describe_target()
            )),
            (None, None) => broken(
                format!(
                    "{} has no metric of type Pods with an averageValue or of type External, only metrics of type: {}",
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
    // Only a program such as KEDA scales to 0.
    let is_stopped = wanted == 0 && evidence.external.is_some();
    if (ready == 0 && !is_stopped) || ready < wanted {
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
    works(format!("{ready} of {wanted} pods of {} are ready", hpa.target))
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
        Some(condition) if condition.reason == "ScalingDisabled" && evidence.external.is_some() => {
            works("the HPA is disabled at 0 replicas; another program starts the first pod")
        }
        Some(condition) if condition.holds => works(format!("ScalingActive: {}", condition.reason)),
        Some(condition) => broken(
            format!("not ScalingActive: {}: {}", condition.reason, condition.message),
            look_at,
        ),
    }
}
