//! Runs the checks of objects against every overlay.

use crate::rendered::{
    CALLERS, OVERLAYS, Overlay, POLICY_AGENT, all_overlays, known_images, overlay, public, schema,
};
use manifests::{
    findings::{Finding, list},
    objects, permissions, pods, references, relations,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use wiring::ROLLOUTS;

/// Expects no findings in any overlay, nor in any example of a user's overlay.
fn expect_none(check: impl Fn(&[Value]) -> Vec<Finding>) {
    expect_none_in(all_overlays(), check);
}

fn expect_none_in(
    overlays: impl Iterator<Item = &'static Overlay>,
    check: impl Fn(&[Value]) -> Vec<Finding>,
) {
    for overlay in overlays {
        let findings = check(&overlay.objects);
        assert!(
            findings.is_empty(),
            "overlay {}:{}",
            overlay.name,
            list(&findings)
        );
    }
}

/// Expects no findings but these: the title of an object, and the end of its problem.
fn expect_only(check: impl Fn(&[Value]) -> Vec<Finding>, exceptions: &[(&str, &str)]) {
    expect_none(|objects| {
        let mut findings = check(objects);
        findings.retain(|finding| {
            let is_exception = |(object, problem): &(&str, &str)| {
                finding.object.contains(object) && finding.problem.ends_with(problem)
            };
            !exceptions.iter().any(is_exception)
        });
        findings
    });
}

#[test]
fn objects_are_valid_for_the_pinned_kubernetes() {
    let schema = schema();
    let overlays = all_overlays().chain([&*POLICY_AGENT]);
    expect_none_in(overlays, |objects| schema.check(objects).expect("usable"));
}

#[test]
fn objects_that_others_name_exist() {
    expect_none(references::missing);
}

#[test]
fn objects_are_unique_and_their_namespaces_exist() {
    expect_none(relations::identities);
}

#[test]
fn autoscalers_own_the_replica_counts() {
    expect_none(relations::scaling);
}

#[test]
fn selectors_match_one_workload_except_for_the_chart_of_karpenter() {
    expect_only(
        relations::selectors,
        &[("Service karpenter/karpenter-metrics", "selects no pods")],
    );
}

/// A canary is no replica. If it counted as healthy, one more stable pod could be evicted.
#[test]
fn the_budgets_of_the_pair_do_not_select_a_canary() {
    for overlay in all_overlays() {
        for name in ["app-a", "app-b"] {
            let Some(budget) = objects::find(&overlay.objects, "PodDisruptionBudget", "sample-app", name)
            else {
                continue;
            };
            let expected = json!([{ "key": "sample-app/track", "operator": "DoesNotExist" }]);
            let found = &budget["spec"]["selector"]["matchExpressions"];
            assert_eq!(*found, expected, "overlay {}: {name}", overlay.name);
        }
    }
    let local = objects::of_kind(&overlay("local").objects, "PodDisruptionBudget").count();
    assert!(local >= 2, "{local} budgets");
}

#[test]
fn ports_exist_in_containers() {
    expect_none(relations::ports);
}

#[test]
fn only_the_frontend_is_public_except_prometheus_locally() {
    for overlay in OVERLAYS.iter() {
        let findings = relations::exposure(&overlay.objects, public(&overlay.name));
        assert!(
            findings.is_empty(),
            "overlay {}:{}",
            overlay.name,
            list(&findings)
        );
    }
}

#[test]
fn pods_are_confined_except_for_the_socket_of_the_node_manager() {
    expect_only(
        pods::confinement,
        &[("Deployment karpenter/karpenter", "a volume of type hostPath")],
    );
}

#[test]
fn only_callers_of_the_api_server_mount_a_token() {
    expect_none_in(OVERLAYS.iter(), |objects| pods::tokens(objects, &CALLERS));
}

#[test]
fn roles_are_not_excessive_except_those_of_node_autoscalers() {
    // They plan by the pods of every namespace. None of them reads Secrets or changes a pod other than by eviction or deletion.
    expect_only(
        permissions::excessive,
        &[
            ("ClusterRole karpenter", "covers every namespace"),
            ("ClusterRole cluster-autoscaler", "covers every namespace"),
        ],
    );
}

#[test]
fn images_are_pinned_and_run_their_entrypoint_if_they_have_one() {
    expect_only(
        |objects| pods::images(objects, &known_images()),
        &[("Deployment kube-system/cluster-autoscaler", "has a command")],
    );
}

#[test]
fn containers_state_their_resources() {
    expect_none(pods::resources);
}

#[test]
fn no_secrets_are_rendered() {
    expect_none(pods::secrets);
}

#[test]
fn the_rollouts_are_the_deployments_of_each_overlay() {
    let expected: BTreeSet<_> = ROLLOUTS
        .iter()
        .map(|rollout| (rollout.namespace, rollout.deployment))
        .collect();
    for overlay in OVERLAYS.iter() {
        let deployments: BTreeSet<_> = objects::of_kind(&overlay.objects, "Deployment")
            .map(|deployment| (objects::namespace(deployment), objects::name(deployment)))
            // Not links of the metrics chain.
            .filter(|(_, name)| !["karpenter", "headroom"].contains(name))
            .collect();
        assert_eq!(deployments, expected, "overlay {}", overlay.name);
    }
}

#[test]
fn the_overlay_for_older_clusters_differs_only_in_the_tolerance_that_they_reject() {
    let mut expected = overlay("local").objects.clone();
    let mut tolerances = Vec::new();
    for hpa in expected
        .iter_mut()
        .filter(|object| object["kind"] == "HorizontalPodAutoscaler")
    {
        let scale_up = hpa["spec"]["behavior"]["scaleUp"]
            .as_object_mut()
            .expect("scaleUp");
        tolerances.extend(scale_up.remove("tolerance"));
    }
    assert_eq!(tolerances, ["20m", "20m"]);
    assert_eq!(overlay("local-1.29").objects, expected);
}
