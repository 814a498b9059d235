//! prometheus-adapter: its rules, and its connection to Prometheus.

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;
use wiring::Link;

use crate::{
    component::Component,
    exposition::Exposition,
    notes::Notes,
    objects::{self, list, namespace, target_port, title},
    policies::Port,
    prometheus::Prometheus,
    rule::Rule,
};

/// prometheus-adapter, as far as the objects contain it.
#[derive(Debug, Default)]
pub struct Adapter<'objects> {
    /// The container with the URL of Prometheus.
    pub component: Option<Component<'objects>>,
    config: Option<Value>,
}

/// A series, and the rule that makes the wanted metric from it.
#[derive(Debug)]
pub(crate) struct Offer<'adapter> {
    pub(crate) rule: Rule<'adapter>,
    pub(crate) series: String,
}

/// The rules for the custom or for the external metrics API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// Metrics of objects: `rules`.
    Custom,
    /// External metrics: `externalRules`.
    External,
}

impl Rules {
    pub(crate) fn field(self) -> &'static str {
        match self {
            Self::Custom => "rules",
            Self::External => "externalRules",
        }
    }
}

impl<'objects> Adapter<'objects> {
    /// Finds the container and the configuration, a file with rules.
    ///
    /// # Errors
    /// If the container names a file that its ConfigMap does not have.
    pub fn find(objects: &'objects [Value]) -> Result<Self, String> {
        let is_config = |file: &Value| {
            let has_rules = [Rules::Custom, Rules::External].iter().any(|rules| {
                let mut rules = list(file, &format!("/{}", rules.field())).iter();
                rules.any(|rule| rule.get("seriesQuery").is_some())
            });
            has_rules || file["resourceRules"].is_object()
        };
        let (component, config) = Component::with_config(objects, "--prometheus-url", "--config", is_config)?;
        Ok(Self { component, config })
    }

    /// Whether there is a configuration.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        self.config.is_some()
    }

    /// Returns the rules.
    pub fn rules(&self, of: Rules) -> impl Iterator<Item = Rule<'_>> {
        let config = self.config.as_ref().unwrap_or(&Value::Null);
        list(config, &format!("/{}", of.field())).iter().map(Rule)
    }

    /// Returns the names of the metrics that the rules offer, as far as they are known without the exported series.
    ///
    /// A rule that selects no exported series still offers the name that it declares. The missing series is a fault of another
    /// link.
    pub(crate) fn metric_names(&self, of: Rules, exposition: Option<&Exposition>) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for rule in self.rules(of) {
            let exported = exposition.map_or(Vec::new(), |exposition| rule.matching(exposition));
            let series = if exported.is_empty() {
                rule.declared_series().into_iter().collect()
            } else {
                exported
            };
            let made = series.iter().filter_map(|series| rule.metric_name(series));
            names.extend(made.filter(|name| !name.is_empty()));
        }
        names
    }

    /// Returns the rule that offers the metric, and its series. The series is from the first exposition that contains one; of
    /// several rules, the adapter uses the last one. If no exposition contains such a series, returns every rule that could
    /// offer the metric, with the series that it needs.
    pub(crate) fn offers(&self, of: Rules, metric: &str, expositions: &[&Exposition]) -> Vec<Offer<'_>> {
        let offer = |rule: Rule<'_>, exposition: &Exposition| {
            let mut series = rule.matching(exposition).into_iter();
            series.find(|series| rule.metric_name(series).as_deref() == Some(metric))
        };
        let exported = expositions.iter().find_map(|exposition| {
            let offers = self.rules(of).filter_map(|rule| {
                let series = offer(rule, exposition)?;
                Some(Offer { rule, series })
            });
            offers.last()
        });
        let needed = self.rules(of).filter_map(|rule| {
            let series = rule.series_for(metric)?;
            Some(Offer { rule, series })
        });
        exported.map_or_else(|| needed.collect(), |offer| vec![offer])
    }

    /// Checks that the adapter's flags name the Service of Prometheus, and that the adapter accepts them.
    pub(crate) fn check_connection(&self, objects: &[Value], prometheus: &Prometheus<'_>, notes: &mut Notes) {
        let Some(component) = &self.component else {
            return;
        };
        let url = component.expanded_flag("--prometheus-url").unwrap_or_default();
        match check_url(objects, &url, prometheus, namespace(component.workload)) {
            Ok(Some(port)) => port.check_from(objects, component.workload, Link::AdapterRule, notes),
            Ok(None) => {}
            Err(reason) => notes.broken(Link::AdapterRule, format!("--prometheus-url={url}: {reason}")),
        }
        // The adapter's defaults: ten minutes, and the relist interval.
        let duration = |flag| {
            component
                .flag(flag)
                .and_then(|value| humantime::parse_duration(value).ok())
        };
        let relist = duration("--metrics-relist-interval").unwrap_or(Duration::from_mins(10));
        if duration("--metrics-max-age").unwrap_or(relist) < relist {
            let reason = "--metrics-max-age is below --metrics-relist-interval; the adapter exits at once";
            notes.broken(Link::AdapterRule, reason);
        }
    }
}

/// Checks that a URL names a Service of the Prometheus pods and one of its ports, as far as these are among the objects. Returns
/// the port of the pods.
fn check_url<'objects>(
    objects: &[Value],
    url: &str,
    prometheus: &Prometheus<'objects>,
    own_namespace: &str,
) -> Result<Option<Port<'objects>>, String> {
    let (address, default_port) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
        (Some(address), _) => (address, "80"),
        (_, Some(address)) => (address, "443"),
        _ => return Err("expected http:// or https://".to_owned()),
    };
    if let Some(component) = &prometheus.component
        && url.starts_with("https://")
        && component.flag("--web.config.file").is_none()
    {
        return Err(format!(
            "{} does not serve TLS: it has no --web.config.file",
            title(component.workload)
        ));
    }
    let authority = address.split('/').next().unwrap_or_default();
    let (host, port) = authority.split_once(':').unwrap_or((authority, default_port));
    let port: u64 = port.parse().map_err(|_| format!("{port} is not a port"))?;
    let mut labels_of_host = host.split('.');
    let service = labels_of_host.next().unwrap_or_default();
    let in_namespace = labels_of_host.next().unwrap_or(own_namespace);
    let Some(service) = objects::find(objects, "Service", in_namespace, service) else {
        return match prometheus.component {
            Some(_) => Err(format!("there is no Service {in_namespace}/{service}")),
            None => Ok(None),
        };
    };
    prometheus.check_selected_by(service)?;
    let mut ports = list(service, "/spec/ports").iter();
    let entry = ports
        .find(|entry| entry["port"].as_u64() == Some(port))
        .ok_or_else(|| format!("{} has no port {port}", title(service)))?;
    let Some(component) = &prometheus.component else {
        return Ok(None);
    };
    let number = target_port(component.template, entry)
        .ok_or_else(|| format!("{} targets a port that no container has", title(service)))?;
    Ok(Some(Port {
        of: component.workload,
        number,
    }))
}
