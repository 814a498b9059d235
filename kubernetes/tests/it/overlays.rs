//! Runs the checks of objects against every overlay.

use crate::rendered::{CALLERS, OVERLAYS, Overlay, all_overlays, known_images, overlay, public};
use manifests::{
    findings::{Finding, list},
    objects, permissions, pods, relations,
    schema::Schema,
};
use serde_json::Value;
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

#[test]
fn objects_are_valid_for_the_pinned_kubernetes() {
    let path = testbed::components::openapi_schema().expect("the OpenAPI document");
    let schema = Schema::read(&path).expect("readable");
    expect_none(|objects| schema.check(objects).expect("usable"));
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
fn selectors_match_one_workload() {
    expect_none(relations::selectors);
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
fn pods_are_confined() {
    expect_none(pods::confinement);
}

#[test]
fn only_callers_of_the_api_server_mount_a_token() {
    expect_none_in(OVERLAYS.iter(), |objects| pods::tokens(objects, &CALLERS));
}

#[test]
fn roles_are_not_excessive() {
    expect_none(permissions::excessive);
}

#[test]
fn images_are_pinned() {
    expect_none(|objects| pods::images(objects, &known_images()));
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
