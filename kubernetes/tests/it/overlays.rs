//! What holds for every overlay.

use crate::rendered::{CALLERS, OVERLAYS, known_images, public};
use manifests::{
    findings::{Finding, list},
    permissions, pods, relations,
    schema::Schema,
};
use serde_json::Value;

/// Fails with every finding of every overlay.
fn expect_none(check: impl Fn(&[Value]) -> Vec<Finding>) {
    for overlay in OVERLAYS.iter() {
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
fn objects_are_unique_and_in_namespaces_that_exist() {
    expect_none(relations::identities);
}

#[test]
fn autoscalers_own_the_replica_counts() {
    expect_none(relations::scaling);
}

#[test]
fn selectors_select() {
    expect_none(relations::selectors);
}

#[test]
fn ports_lead_somewhere() {
    expect_none(relations::ports);
}

#[test]
fn only_the_frontend_is_public_and_locally_prometheus() {
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
fn tokens_are_given_to_those_who_call_the_api_server() {
    expect_none(|objects| pods::tokens(objects, &CALLERS));
}

#[test]
fn roles_give_no_more_than_is_needed() {
    expect_none(permissions::excessive);
}

#[test]
fn images_are_pinned() {
    expect_none(|objects| pods::images(objects, &known_images()));
}

#[test]
fn resources_are_stated() {
    expect_none(pods::resources);
}

#[test]
fn nothing_secret_is_rendered() {
    expect_none(pods::secrets);
}
