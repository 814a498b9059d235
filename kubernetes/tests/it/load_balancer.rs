//! The numbers of the load balancer of the overlays for EKS, and of the pods behind it: none of them may lose a request.

use crate::{
    configuration::service,
    eks::attribute,
    rendered::{Overlay, object, on_eks},
};
use manifests::objects::{labels, text};
use serde_json::Value;
use std::{collections::BTreeMap, fs, time::Duration};

/// The annotations of the Ingress for the controller, without their prefix.
fn annotations(overlay: &'static Overlay) -> BTreeMap<String, String> {
    let ingress = object(overlay, "Ingress", "sample-app", "app-a");
    let all = labels(ingress, "/metadata/annotations").into_iter();
    let own = all.filter_map(|(key, value)| {
        let key = key.strip_prefix("alb.ingress.kubernetes.io/")?.to_owned();
        Some((key, value))
    });
    own.collect()
}

fn seconds(text: &str) -> Duration {
    Duration::from_secs(
        text.parse()
            .unwrap_or_else(|_| panic!("{text:?} is not a number of seconds")),
    )
}

/// Returns an attribute of the target group.
fn of_the_target_group(annotations: &BTreeMap<String, String>, key: &str) -> Duration {
    let attributes = annotations["target-group-attributes"].split(',');
    let mut pairs = attributes.filter_map(|attribute| attribute.split_once('='));
    let (_, value) = pairs.find(|(name, _)| *name == key).expect("an attribute");
    seconds(value)
}

#[test]
fn a_pod_that_stops_accepts_requests_until_the_load_balancer_sends_none() {
    for overlay in on_eks() {
        let (config, template, _) = service::<app_a::Config>(overlay, "app-a");
        let settings = &config.service;
        let annotations = annotations(overlay);
        let deregistration = of_the_target_group(&annotations, "deregistration_delay.timeout_seconds");
        assert!(
            deregistration > settings.request_timeout,
            "the load balancer cuts off requests that take up to {:?} after {deregistration:?}",
            settings.request_timeout
        );
        // The time until the deregistration has begun in each node of the load balancer.
        let until_deregistration = Duration::from_secs(25);
        assert!(
            settings.drain_delay >= until_deregistration + deregistration,
            "app-a refuses connections after {:?}, and the load balancer sends requests for {until_deregistration:?} and then \
             knows the pod for {deregistration:?}",
            settings.drain_delay
        );
        // If the controller is down, the health checks take the pod out.
        let check = |name: &str| seconds(&annotations[name]);
        let failures: u32 = annotations["unhealthy-threshold-count"]
            .parse()
            .expect("a number");
        let unhealthy =
            check("healthcheck-interval-seconds") * failures + check("healthcheck-timeout-seconds");
        assert!(
            settings.drain_delay > unhealthy,
            "app-a refuses connections after {:?}, its health check fails after {unhealthy:?}",
            settings.drain_delay
        );
        let grace = template["spec"]["terminationGracePeriodSeconds"].as_u64();
        let grace = Duration::from_secs(grace.expect("a grace period"));
        assert!(grace > settings.drain_delay + settings.drain_deadline);
        // At most four rounds of evictions (25 % each), and as much again for the replacements.
        let pool = object(overlay, "NodePool", "", "default");
        let minutes = text(pool, "/spec/template/spec/terminationGracePeriod").strip_suffix('m');
        let minutes: u64 = minutes.and_then(|minutes| minutes.parse().ok()).expect("minutes");
        assert!(Duration::from_mins(minutes) >= grace * 4 * 2);
    }
}

/// Otherwise the load balancer could send a request on a connection that the pod is just closing. At its maximum age a connection closes
/// after a response only, so that age needs no relation to the idle timeout.
#[test]
fn the_load_balancer_closes_idle_connections_before_the_pod_does() {
    for overlay in on_eks() {
        let (config, ..) = service::<app_a::Config>(overlay, "app-a");
        let idle = seconds(attribute(overlay, "idle_timeout.timeout_seconds"));
        assert!(idle < config.service.keep_alive_timeout);
        // A response that takes longer would be a 504 of the load balancer.
        assert!(idle > config.service.request_timeout);
    }
}

#[test]
fn the_health_check_asks_what_the_readiness_probe_asks() {
    for overlay in on_eks() {
        let (config, _, container) = service::<app_a::Config>(overlay, "app-a");
        let annotations = annotations(overlay);
        // A number: the controller resolves names with the ports of the Service, and no Service exposes this one.
        assert_eq!(
            annotations["healthcheck-port"],
            config.service.admin_listen.port().to_string()
        );
        assert_eq!(
            annotations["healthcheck-path"],
            text(container, "/readinessProbe/httpGet/path")
        );
        let policy = object(overlay, "NetworkPolicy", "sample-app", "app-a-from-load-balancer");
        assert_eq!(text(policy, "/spec/ingress/0/ports/0/port"), "admin");
    }
}

#[test]
fn http_is_redirected_and_a_rollout_waits_for_the_load_balancer() {
    for overlay in on_eks() {
        let listeners: Value = serde_json::from_str(&annotations(overlay)["listen-ports"]).expect("JSON");
        assert_eq!(listeners, serde_json::json!([{"HTTP": 80}, {"HTTPS": 443}]));
        let parameters = object(overlay, "IngressClassParams", "", "public");
        assert_eq!(text(parameters, "/spec/sslRedirectPort"), "443");
        let ingress = object(overlay, "Ingress", "sample-app", "app-a");
        assert_eq!(
            ingress["spec"]["rules"][0]["host"],
            ingress["spec"]["tls"][0]["hosts"][0]
        );
        // The readiness gates, which the controller adds for targets that are pods.
        assert_eq!(text(parameters, "/spec/targetType"), "ip");
        let namespace = object(overlay, "Namespace", "", "sample-app");
        let label = "/metadata/labels/elbv2.k8s.aws~1pod-readiness-gate-inject";
        assert_eq!(text(namespace, label), "enabled");
    }
}

/// The controller ignores an annotation that it does not know.
#[test]
fn the_controller_knows_every_annotation() {
    let source = testbed::eks::load_balancer_controller().expect("the source of the controller");
    let names = fs::read_to_string(source.join("pkg/annotations/constants.go")).expect("readable");
    let is_known = |name: &str| {
        names
            .lines()
            .any(|line| line.contains("IngressSuffix") && line.contains(&format!("= \"{name}\"")))
    };
    assert!(!is_known("healthcheck-ports"));
    for overlay in on_eks() {
        let annotations = annotations(overlay);
        assert!(annotations.len() > 5, "{annotations:?}");
        let unknown: Vec<_> = annotations.keys().filter(|name| !is_known(name)).collect();
        assert!(unknown.is_empty(), "overlay {}: {unknown:?}", overlay.name);
    }
}
