//! Follows the chain of each HPA, and notes the findings about each link.

use serde_json::Value;
use wiring::{Link, diagnosis::Diagnosis};

use crate::{
    access,
    adapter::{Adapter, Rules},
    api_service::{self, CUSTOM, EXTERNAL, RESOURCE},
    autoscaler::{self, Metric, Source},
    discovery::Target,
    exposition::Exposition,
    input::Input,
    monitors,
    notes::Notes,
    objects::{self, list, name, namespace, of_kind, pod_template, text, title},
    policies::Port,
    prometheus::Prometheus,
    removed_versions,
    rule_check::RuleCheck,
};

/// Follows the chain of every HPA. A link whose objects are not in the input is not checked.
#[must_use]
pub fn check(input: &Input) -> Vec<Diagnosis> {
    let hpas = of_kind(&input.objects, "HorizontalPodAutoscaler");
    hpas.map(|hpa| {
        let mut chain = Chain::find(input, hpa);
        chain.follow();
        chain.notes.diagnosis(name(hpa))
    })
    .collect()
}

/// Why the scrape is not checked for a metric that does not belong to pods.
const ANY_TARGET: &str = "the series can come from any target, not only from the pods";

/// The chain of one HPA.
struct Chain<'input> {
    objects: &'input [Value],
    hpa: &'input Value,
    prometheus: Prometheus<'input>,
    adapter: Adapter<'input>,
    /// The series of the pods; `None` if there is no page or no valid one.
    exposition: Option<&'input Exposition>,
    /// The targets of a pod; `None` if the scrape is not checked.
    targets: Option<Vec<Target>>,
    notes: Notes,
}

impl<'input> Chain<'input> {
    fn find(input: &'input Input, hpa: &'input Value) -> Self {
        let mut notes = Notes::default();
        let prometheus = Prometheus::find(&input.objects).unwrap_or_else(|reason| {
            notes.broken(Link::PrometheusScrape, reason);
            Prometheus::default()
        });
        let adapter = Adapter::find(&input.objects).unwrap_or_else(|reason| {
            notes.broken(Link::AdapterRule, reason);
            Adapter::default()
        });
        let exposition = match &input.exposition {
            Some(Ok(exposition)) => Some(exposition),
            Some(Err(error)) => {
                notes.broken(
                    Link::ServiceMetric,
                    format!("/metrics does not follow the text format: {error}"),
                );
                None
            }
            None => None,
        };
        Self {
            objects: &input.objects,
            hpa,
            prometheus,
            adapter,
            exposition,
            targets: None,
            notes,
        }
    }

    fn follow(&mut self) {
        let metrics = autoscaler::metrics(self.hpa);
        autoscaler::check(self.hpa, &metrics, &mut self.notes);
        let workload = self.check_workload();
        if metrics.iter().any(|metric| metric.source == Source::Pods) {
            match workload {
                Some(workload) => self.check_scrape(workload),
                None => self.notes.not_checked(
                    Link::PrometheusScrape,
                    "the pods that the HPA scales are not known",
                ),
            }
        }
        for metric in &metrics {
            match &metric.source {
                Source::Resource { of_requests } => self.check_resource(metric, *of_requests, workload),
                Source::Pods => self.check_custom(metric, "pod"),
                Source::Object(kind) => self.check_custom(metric, kind),
                Source::External => self.check_external(metric),
            }
        }
    }

    /// Finds the workload that the HPA scales.
    fn check_workload(&mut self) -> Option<&'input Value> {
        let (wanted, target) = (
            text(self.hpa, "/spec/scaleTargetRef/kind"),
            text(self.hpa, "/spec/scaleTargetRef/name"),
        );
        let own = namespace(self.hpa);
        if let Some(workload) = objects::find(self.objects, wanted, own, target) {
            self.notes
                .all_broken(Link::Pods, removed_versions::problem(workload));
            self.notes
                .works(Link::Pods, format!("{} exists", title(workload)));
            return Some(workload);
        }
        let elsewhere = of_kind(self.objects, wanted).find(|object| name(object) == target);
        let others: Vec<&str> = of_kind(self.objects, wanted)
            .filter(|object| namespace(object) == own)
            .map(name)
            .collect();
        let missing = format!("{} scales {wanted} {target}", title(self.hpa));
        if let Some(elsewhere) = elsewhere {
            self.notes.broken(
                Link::Pods,
                format!("{missing}, which is in the namespace {}", namespace(elsewhere)),
            );
        } else if others.is_empty() {
            self.notes
                .not_checked(Link::Pods, format!("{missing}, which is not among the manifests"));
        } else {
            let others = others.join(", ");
            self.notes.broken(
                Link::Pods,
                format!("{missing}, which does not exist; the namespace has only {others}"),
            );
        }
        None
    }

    fn check_scrape(&mut self, workload: &Value) {
        let Some(template) = pod_template(workload) else {
            return;
        };
        let has_monitors = monitors::monitors(self.objects).next().is_some();
        if !self.prometheus.is_configured() && !has_monitors {
            self.notes.not_checked(
                Link::PrometheusScrape,
                "no configuration of Prometheus, PodMonitor or ServiceMonitor is among the manifests",
            );
            return;
        }
        let (mut targets, mut reasons) = self.prometheus.targets(self.objects, workload, template);
        let (of_monitors, rejected) = monitors::targets(self.objects, workload, template);
        targets.extend(of_monitors);
        // Prometheus scrapes targets with the same labels once.
        targets.dedup();
        reasons.extend(rejected);
        if targets.is_empty() {
            self.notes.broken(
                Link::PrometheusScrape,
                format!(
                    "no job scrapes the pods of {}: {}",
                    title(workload),
                    reasons.join("; ")
                ),
            );
        } else {
            for target in &targets {
                let interval = target
                    .interval
                    .map_or(String::new(), |interval| format!(" every {interval:?}"));
                self.notes.works(
                    Link::PrometheusScrape,
                    format!(
                        "{} scrapes port {}, {}{interval}",
                        target.job, target.port, target.path
                    ),
                );
                if let Some(prometheus) = &self.prometheus.component {
                    let (of, number) = (workload, target.port);
                    let port = Port { of, number };
                    port.check_from(
                        self.objects,
                        prometheus.workload,
                        Link::PrometheusScrape,
                        &mut self.notes,
                    );
                }
            }
            self.targets = Some(targets);
        }
        if let Some(component) = &self.prometheus.component {
            let verbs = ["get", "list", "watch"];
            access::check_pods(
                self.objects,
                self.hpa,
                Link::PrometheusScrape,
                component,
                &verbs,
                &mut self.notes,
            );
        }
    }

    fn check_custom(&mut self, metric: &Metric, resource: &str) {
        api_service::check(self.objects, CUSTOM, &self.adapter, &mut self.notes);
        self.check_rule(Rules::Custom, metric, &["namespace", resource]);
        if let Some(component) = &self.adapter.component
            && metric.source == Source::Pods
        {
            access::check_pods(
                self.objects,
                self.hpa,
                Link::PodSamples,
                component,
                &["list"],
                &mut self.notes,
            );
        }
        if metric.source != Source::Pods {
            self.notes.not_checked(Link::PrometheusScrape, ANY_TARGET);
        }
        let plural = if resource.ends_with('s') { "es" } else { "s" };
        access::check_controller(
            self.objects,
            self.hpa,
            self.adapter.component.as_ref(),
            (CUSTOM.group, &format!("{resource}{plural}/anything")),
            &mut self.notes,
        );
    }

    fn check_external(&mut self, metric: &Metric) {
        self.notes.not_checked(Link::PrometheusScrape, ANY_TARGET);
        api_service::check(self.objects, EXTERNAL, &self.adapter, &mut self.notes);
        let is_of_adapter = match (api_service::find(self.objects, EXTERNAL), &self.adapter.component) {
            (Some(api_service), Some(adapter)) => api_service::leads_to(self.objects, api_service, adapter),
            _ => self.adapter.rules(Rules::External).next().is_some(),
        };
        if is_of_adapter {
            self.check_rule(Rules::External, metric, &[]);
        } else {
            let other = format!(
                "{} is not a metric of prometheus-adapter, as far as the manifests show",
                metric.name
            );
            for link in [Link::ServiceMetric, Link::AdapterRule, Link::PodSamples] {
                self.notes.not_checked(link, &*other);
            }
        }
        access::check_controller(
            self.objects,
            self.hpa,
            self.adapter.component.as_ref().filter(|_| is_of_adapter),
            (EXTERNAL.group, &metric.name),
            &mut self.notes,
        );
    }

    fn check_resource(&mut self, metric: &Metric, of_requests: bool, workload: Option<&Value>) {
        let template = workload.and_then(pod_template);
        let without: Vec<&str> = template
            .into_iter()
            .flat_map(|template| list(template, "/spec/containers"))
            .filter(|container| {
                container
                    .pointer(&format!("/resources/requests/{}", metric.name))
                    .is_none()
            })
            .map(|container| text(container, "/name"))
            .collect();
        if of_requests && !without.is_empty() {
            self.notes.broken(
                Link::Pods,
                format!(
                    "the target is a share of the {} requests, but {} has none",
                    metric.name,
                    without.join(", ")
                ),
            );
        }
        api_service::check(self.objects, RESOURCE, &self.adapter, &mut self.notes);
        let unneeded = format!("{} does not come through Prometheus", metric.name);
        for link in [
            Link::PrometheusScrape,
            Link::ServiceMetric,
            Link::AdapterRule,
            Link::PodSamples,
        ] {
            self.notes.not_checked(link, &*unneeded);
        }
        self.notes.works(
            Link::HpaActive,
            "Kubernetes lets the HPA controller read metrics.k8s.io",
        );
    }

    fn check_rule(&mut self, rules: Rules, metric: &Metric, resources: &[&str]) {
        let check = RuleCheck {
            objects: self.objects,
            hpa: self.hpa,
            prometheus: &self.prometheus,
            adapter: &self.adapter,
            exposition: self.exposition,
            targets: self.targets.as_deref(),
        };
        check.check(rules, metric, resources, &mut self.notes);
    }
}
