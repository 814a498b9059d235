//! The checks of the links to the adapter: the API server reaches it, and it offers the metric with fresh values.

use wiring::Link;

use super::{
    evidence::Evidence,
    finding::{
        Finding::{self, BlockedBy, Works},
        broken, describe_interval, hpa_of, list_names, max_age_seconds, ready_pod_names, works,
    },
};
use crate::cluster::{
    ApiRegistration, CUSTOM_METRICS, EXTERNAL_METRICS, ReadError, ReadResult, registration_name,
};

/// The warning about an unverified certificate. Many installations have it, and the metrics work.
const INSECURE: &str = "the APIService has insecureSkipTLSVerify: any server that answers at the address of the adapter can \
                        control the HPA; set caBundle instead";

pub(super) fn check_api_service(evidence: &Evidence) -> Finding {
    if let Some(external) = &evidence.external {
        let failed_call = external.api.as_ref().err();
        return check_registration(EXTERNAL_METRICS, &external.registration, failed_call);
    }
    let failed_call = evidence.offered_metrics.as_ref().err();
    check_registration(CUSTOM_METRICS, &evidence.registration, failed_call)
}

fn check_registration(
    group_version: &str,
    registration: &ReadResult<Option<ApiRegistration>>,
    failed_call: Option<&ReadError>,
) -> Finding {
    let name = registration_name(group_version);
    let look_at = format!("kubectl get apiservice {name} -o yaml; the adapter's pods and their logs");
    let registration = match registration {
        Err(error) => return broken(format!("the APIService cannot be read: {error}"), look_at),
        Ok(None) => {
            return broken(
                format!("there is no APIService {name}: no adapter is installed"),
                look_at,
            );
        }
        Ok(Some(registration)) => registration,
    };
    let insecure = registration.insecure_skip_tls_verify;
    if !insecure && !registration.has_ca_bundle {
        return broken(
            "the APIService has no caBundle: the adapter's certificate cannot be verified",
            look_at,
        );
    }
    let condition = registration.available.clone().unwrap_or_default();
    let detail = match (failed_call, condition.holds) {
        (None, true) if insecure => {
            return Works(
                format!("the API server reaches {}", registration.service),
                vec![INSECURE.to_owned()],
            );
        }
        (None, true) => {
            return works(format!(
                "the API server reaches {} over verified TLS",
                registration.service
            ));
        }
        (Some(error), true) => format!("the API returns an error: {error}"),
        (_, false) => format!("not available: {}: {}", condition.reason, condition.message),
    };
    let messages = format!(
        "{detail} {}",
        failed_call.map(ToString::to_string).unwrap_or_default()
    );
    if messages.contains("x509") {
        return broken(
            format!("wrong CA bundle: {detail}"),
            "spec.caBundle of the APIService: compare it with the authority that signed the adapter's certificate",
        );
    }
    broken(detail, look_at)
}

pub(super) fn check_adapter_rule(evidence: &Evidence) -> Finding {
    let Some(metric) = hpa_of(evidence).and_then(|hpa| hpa.metric.as_ref()) else {
        return BlockedBy(Link::Hpa);
    };
    let Ok(offered) = &evidence.offered_metrics else {
        return BlockedBy(Link::Apiservice);
    };
    let name = &metric.name;
    if offered.contains(name) {
        return works(format!("the adapter offers {name} for pods"));
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

pub(super) fn check_pod_samples(evidence: &Evidence) -> Finding {
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
                let interval = evidence.scrape_interval(pod);
                let max_age = max_age_seconds(interval);
                if let Some(old) = sample.at.map(age).filter(|age| *age > max_age) {
                    let interval = describe_interval(interval);
                    problems.push(format!("the value of pod {pod} is {old:.0} s old; {interval}"));
                }
            }
        }
    }
    if problems.is_empty() {
        works(format!("{} ready pods have a fresh value", pods.len()))
    } else {
        broken(list_names(&problems), look_at)
    }
}
