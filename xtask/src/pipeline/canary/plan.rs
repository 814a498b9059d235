//! Which Deployments of the pair get a canary.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::pod::{ADMITTED, Pod};
use crate::pipeline::cluster::{Cluster, NAMESPACE, PAIR};
use crate::pipeline::guard::Guard;
use crate::pipeline::outcome::refused;

/// The canaries of a release.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) pods: Vec<Pod>,
    /// The Deployments without a canary, each with the reason.
    pub(super) without: Vec<(&'static str, String)>,
}

impl Plan {
    /// The first deployment: there is nothing to compare with, and nobody uses it.
    pub(super) fn nothing_runs() -> Self {
        let reason = "nothing runs yet".to_owned();
        Self {
            pods: Vec::new(),
            without: PAIR.map(|name| (name, reason.clone())).into(),
        }
    }
}

/// Reads the Deployments of the pair that have a ready pod.
///
/// # Errors
/// A stop, or the API server does not answer.
pub(super) fn running(guard: &Guard<'_>, cluster: &Cluster) -> Result<BTreeMap<&'static str, Value>> {
    let mut running = BTreeMap::new();
    for name in PAIR {
        let found = guard.request(|| cluster.get(NAMESPACE, "deployment", name))?;
        let ready = |deployment: &Value| deployment["status"]["readyReplicas"].as_u64().unwrap_or(0) > 0;
        if let Some(deployment) = found.filter(ready) {
            running.insert(name, deployment);
        }
    }
    Ok(running)
}

/// Whether a Deployment runs the verified images, in all its pods. After a killed pipeline it may run others.
fn is_verified(name: &str, deployment: &Value, verified: &BTreeMap<String, String>) -> bool {
    let image = deployment["spec"]["template"]["spec"]["containers"][0]["image"].as_str();
    let status = &deployment["status"];
    image == verified.get(name).map(String::as_str) && status["updatedReplicas"] == status["replicas"]
}

/// Returns a list of the objects that [`plan`] needs, from the objects that kubectl prints one after the other.
///
/// # Errors
/// The output is not JSON.
pub(super) fn of_the_pair(printed: &str) -> Result<Value> {
    let mut items = Vec::new();
    for object in serde_json::Deserializer::from_str(printed).into_iter::<Value>() {
        let object = object.context("kubectl create prints no JSON")?;
        let kind = &object["kind"];
        if object["metadata"]["namespace"] == NAMESPACE
            && (kind == "Deployment" || kind == "HorizontalPodAutoscaler")
        {
            items.push(object);
        }
    }
    Ok(json!({ "apiVersion": "v1", "kind": "List", "items": items }))
}

/// Decides from the output of `kubectl apply --dry-run=server`, the running Deployments, the images of the last verified release if there
/// is one, and the Services of the namespace.
///
/// # Errors
/// Refuses when a running Service would send users' requests to a canary from its start.
pub(super) fn plan(
    dry_run: &str,
    running: &BTreeMap<&str, Value>,
    verified: Option<&BTreeMap<String, String>>,
    services: &Value,
) -> Result<Plan> {
    let output: Value = serde_json::from_str(dry_run).context("kubectl apply prints no JSON")?;
    let single = std::slice::from_ref(&output);
    let objects = output["items"].as_array().map_or(single, Vec::as_slice);
    let in_namespace: Vec<_> = objects
        .iter()
        .filter(|object| object["metadata"]["namespace"] == NAMESPACE)
        .collect();
    let mut plan = Plan::default();
    for name in PAIR {
        let next = in_namespace
            .iter()
            .find(|object| object["kind"] == "Deployment" && object["metadata"]["name"] == name);
        let Some(next) = next else {
            plan.without
                .push((name, "the release does not contain it".to_owned()));
            continue;
        };
        let is_scaled = in_namespace.iter().any(|object| {
            object["kind"] == "HorizontalPodAutoscaler" && object["spec"]["scaleTargetRef"]["name"] == name
        });
        let Some(now) = running.get(name) else {
            plan.without
                .push((name, "none of its pods is ready to compare with".to_owned()));
            continue;
        };
        if now["spec"]["template"] == next["spec"]["template"] {
            plan.without.push((name, "its pods do not change".to_owned()));
        } else if verified.is_some_and(|images| !is_verified(name, now, images)) {
            let reason = "what runs of it was not verified, so there is nothing to compare with";
            plan.without.push((name, reason.to_owned()));
        } else if is_scaled {
            let pod =
                Pod::of(name, next).map_err(|error| refused(format!("{error:#}: no canary is possible")))?;
            check_services(&pod, services)?;
            plan.pods.push(pod);
        } else {
            plan.without.push((name, "no HPA scales it".to_owned()));
        }
    }
    Ok(plan)
}

/// Refuses a Service that selects a canary which is not admitted.
fn check_services(pod: &Pod, services: &Value) -> Result<()> {
    let labels = &pod.manifest["metadata"]["labels"];
    for service in services["items"].as_array().into_iter().flatten() {
        let Some(selector) = service["spec"]["selector"]
            .as_object()
            .filter(|labels| !labels.is_empty())
        else {
            continue;
        };
        if selector.iter().all(|(key, value)| labels[key] == *value) {
            let name = service["metadata"]["name"].as_str().unwrap_or_default();
            return Err(refused(format!(
                "the Service {name} would send requests of users to a canary of {} before it is verified. Let it select the label too: \
                 `kubectl --namespace {NAMESPACE} patch service {name} --patch \
                 '{{\"spec\": {{\"selector\": {{\"{ADMITTED}\": \"{}\"}}}}}}'`, or deploy with --no-canary",
                pod.deployment, pod.component
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(name: &str, image: &str) -> Value {
        let labels = json!({ "app.kubernetes.io/name": name, ADMITTED: "frontend" });
        json!({
            "kind": "Deployment",
            "metadata": { "name": name, "namespace": NAMESPACE },
            "spec": { "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{ "image": image }] },
            } },
        })
    }

    fn hpa(name: &str) -> Value {
        json!({
            "kind": "HorizontalPodAutoscaler",
            "metadata": { "name": name, "namespace": NAMESPACE },
            "spec": { "scaleTargetRef": { "name": name } },
        })
    }

    fn service(selector: &Value) -> Value {
        json!({ "items": [
            { "metadata": { "name": "external" }, "spec": {} },
            { "metadata": { "name": "app-a" }, "spec": { "selector": selector } },
        ] })
    }

    fn planned(next: &[Value], services: &Value) -> Result<Plan> {
        let running = ["app-a", "app-b"]
            .map(|name| (name, deployment(name, "before")))
            .into_iter()
            .collect();
        plan(&json!({ "items": next }).to_string(), &running, None, services)
    }

    fn reason<'a>(plan: &'a Plan, name: &str) -> Option<&'a str> {
        let found = plan.without.iter().find(|(other, _)| *other == name);
        found.map(|(_, reason)| reason.as_str())
    }

    #[test]
    fn a_deployment_with_other_pods_gets_a_canary_that_no_service_selects() {
        let selector = json!({ "app.kubernetes.io/name": "app-a", ADMITTED: "frontend" });
        let next = [
            deployment("app-a", "next"),
            hpa("app-a"),
            deployment("app-b", "before"),
            hpa("app-b"),
        ];
        let plan = planned(&next, &service(&selector)).unwrap();
        assert_eq!(reason(&plan, "app-b"), Some("its pods do not change"));
        let [pod] = &plan.pods[..] else {
            panic!("{plan:?}");
        };
        assert_eq!((&*pod.deployment, &*pod.component), ("app-a", "frontend"));
        let manifest = &pod.manifest;
        assert_eq!(manifest["spec"]["containers"][0]["image"], "next");
        assert_eq!(manifest["spec"]["activeDeadlineSeconds"], 900);
        let labels = json!({
            "app.kubernetes.io/name": "app-a",
            ADMITTED: "canary",
            "sample-app/track": "canary",
        });
        assert_eq!(manifest["metadata"]["labels"], labels);
    }

    #[test]
    fn a_service_that_selects_the_canary_at_once_is_refused_with_the_command() {
        let next = [deployment("app-a", "next"), hpa("app-a")];
        let error = planned(&next, &service(&json!({ "app.kubernetes.io/name": "app-a" }))).unwrap_err();
        assert_eq!(crate::pipeline::outcome::exit_code(&error), 3);
        let command = r#"patch service app-a --patch '{"spec": {"selector": {"app.kubernetes.io/component": "frontend"}}}'"#;
        assert!(error.to_string().contains(command), "{error}");
    }

    #[test]
    fn there_is_no_canary_without_an_hpa_or_without_a_pod_to_compare_with() {
        let next = [deployment("app-a", "next")];
        let none = service(&json!({}));
        let plan = planned(&next, &none).unwrap();
        assert!(plan.pods.is_empty());
        assert_eq!(reason(&plan, "app-a"), Some("no HPA scales it"));
        assert_eq!(reason(&plan, "app-b"), Some("the release does not contain it"));
        let text = json!({ "items": [deployment("app-a", "next"), hpa("app-a")] }).to_string();
        let plan = super::plan(&text, &BTreeMap::new(), None, &none).unwrap();
        assert_eq!(
            reason(&plan, "app-a"),
            Some("none of its pods is ready to compare with")
        );
    }
    #[test]
    fn there_is_no_canary_beside_pods_that_were_not_verified() {
        let next = json!({ "items": [deployment("app-a", "next"), hpa("app-a")] }).to_string();
        let services = service(&json!({}));
        for (runs, replicas, updated, is_tried) in [
            ("verified", 3, 3, true),
            // Killed after the rolling update, and in the middle of it.
            ("unverified", 3, 3, false),
            ("verified", 3, 1, false),
        ] {
            let mut now = deployment("app-a", runs);
            now["status"] = json!({ "replicas": replicas, "updatedReplicas": updated });
            let running = BTreeMap::from([("app-a", now)]);
            let verified = BTreeMap::from([("app-a".to_owned(), "verified".to_owned())]);
            let plan = plan(&next, &running, Some(&verified), &services).unwrap();
            assert_eq!(
                plan.pods.len(),
                usize::from(is_tried),
                "{runs} {updated}: {plan:?}"
            );
            let expected = "what runs of it was not verified, so there is nothing to compare with";
            assert_eq!(reason(&plan, "app-a"), (!is_tried).then_some(expected));
        }
    }
}
