//! Every check against objects that are broken in the way it is there for.

use crate::{
    breaking::{broken, expect_each_is_noticed},
    rendered::{CALLERS, known_images, local, public},
};
use manifests::{permissions, pods, relations, schema::Schema};
use serde_json::{Value, json};

#[test]
fn the_schema_refuses_what_the_api_server_refuses() {
    let schema = Schema::read(&testbed::components::openapi_schema().expect("the OpenAPI document"))
        .expect("readable");
    let container = "/spec/template/spec/containers/0";
    let in_container = |field: &str| -> &'static str { format!("{container}/{field}").leak() };
    expect_each_is_noticed(
        |objects| schema.check(objects).expect("usable"),
        &[
            broken("Deployment", "app-a", "/spec/replica", json!(2), "replica"),
            broken(
                "Deployment",
                "app-a",
                "/apiVersion",
                json!("apps/v1beta1"),
                "does not have apps/v1beta1",
            ),
            broken(
                "Deployment",
                "app-a",
                in_container("readinesProbe"),
                json!({}),
                "readinesProbe",
            ),
            broken(
                "Deployment",
                "app-a",
                in_container("ports/0/containerPort"),
                json!("5000"),
                "integer",
            ),
            broken(
                "Deployment",
                "app-a",
                in_container("resources/limits/memory"),
                json!("64 MB"),
                "64 MB",
            ),
            broken("Deployment", "app-a", "/spec/selector", Value::Null, "selector"),
            broken(
                "PodDisruptionBudget",
                "app-a",
                "/spec/maxUnavailable",
                json!([1]),
                "maxUnavailable",
            ),
            broken(
                "HorizontalPodAutoscaler",
                "app-a",
                "/spec/behaviour",
                json!({}),
                "behaviour",
            ),
        ],
    );
}

#[test]
fn scaling_is_held_together() {
    expect_each_is_noticed(
        relations::scaling,
        &[
            broken("Deployment", "app-a", "/spec/replicas", json!(2), "sets replicas"),
            broken(
                "HorizontalPodAutoscaler",
                "app-b",
                "/spec/scaleTargetRef/name",
                json!("app-a"),
                "is scaled by",
            ),
            broken(
                "HorizontalPodAutoscaler",
                "app-b",
                "/spec/scaleTargetRef/name",
                json!("app-c"),
                "there is no",
            ),
            broken(
                "HorizontalPodAutoscaler",
                "app-a",
                "/spec/maxReplicas",
                json!(2),
                "leave no room",
            ),
            broken(
                "HorizontalPodAutoscaler",
                "app-a",
                "/spec/behavior/scaleUp",
                Value::Null,
                "scaleUp is left",
            ),
        ],
    );
}

#[test]
fn selectors_and_ports_are_followed() {
    let labels = "/spec/template/metadata/labels/app.kubernetes.io~1name";
    expect_each_is_noticed(
        relations::selectors,
        &[
            broken("Deployment", "app-a", labels, json!("app-c"), "selects no pods"),
            broken("Deployment", "app-a", labels, json!("app-b"), "selects no pods"),
            broken(
                "Service",
                "app-b",
                "/spec/selector/app.kubernetes.io~1name",
                json!("b"),
                "Service sample-app/app-b",
            ),
            broken(
                "PodDisruptionBudget",
                "app-b",
                "/spec/selector/matchLabels",
                json!({"a": "b"}),
                "selects no pods",
            ),
            broken(
                "Service",
                "app-a",
                "/spec/selector",
                json!({"app.kubernetes.io/part-of": "sample-app"}),
                "2 workloads",
            ),
        ],
    );
    expect_each_is_noticed(
        relations::ports,
        &[
            broken(
                "Service",
                "app-a",
                "/spec/ports/0/targetPort",
                json!("https"),
                "has the port",
            ),
            broken(
                "Service",
                "app-b",
                "/spec/ports/0/targetPort",
                json!(5000),
                "has the port 5000",
            ),
            broken(
                "Deployment",
                "app-a",
                "/spec/template/spec/containers/0/readinessProbe/httpGet/port",
                json!("metrics"),
                "readinessProbe",
            ),
        ],
    );
    expect_each_is_noticed(
        |objects| relations::exposure(objects, public("production")),
        &[
            broken(
                "Service",
                "app-b",
                "/spec/type",
                json!("NodePort"),
                "reachable from outside",
            ),
            broken(
                "Service",
                "prometheus",
                "/spec/type",
                json!("NodePort"),
                "reachable from outside",
            ),
        ],
    );
    expect_each_is_noticed(
        relations::identities,
        &[
            broken(
                "Service",
                "app-b",
                "/metadata/name",
                json!("app-a"),
                "is there twice",
            ),
            broken(
                "Service",
                "app-b",
                "/metadata/namespace",
                json!("sample"),
                "nobody creates",
            ),
        ],
    );
}

#[test]
fn a_pod_that_is_not_confined_is_noticed() {
    let pod = |field: &str| -> &'static str { format!("/spec/template/spec/{field}").leak() };
    let security = |field: &str| -> &'static str {
        format!("/spec/template/spec/containers/0/securityContext/{field}").leak()
    };
    let app = |pointer, value, said| broken("Deployment", "app-b", pointer, value, said);
    expect_each_is_noticed(
        pods::confinement,
        &[
            app(pod("hostNetwork"), json!(true), "hostNetwork"),
            app(pod("hostPID"), json!(true), "hostPID"),
            app(pod("enableServiceLinks"), Value::Null, "enableServiceLinks"),
            app(
                pod("volumes/0"),
                json!({"name": "data", "hostPath": {"path": "/"}}),
                "hostPath",
            ),
            app(pod("securityContext/runAsNonRoot"), Value::Null, "runAsNonRoot"),
            app(pod("securityContext/runAsUser"), json!(0), "runs as root"),
            app(pod("securityContext/seccompProfile"), Value::Null, "seccomp"),
            app(
                security("seccompProfile"),
                json!({"type": "Unconfined"}),
                "seccomp",
            ),
            app(security("privileged"), json!(true), "privileged"),
            app(
                security("allowPrivilegeEscalation"),
                Value::Null,
                "allowPrivilegeEscalation",
            ),
            app(
                security("readOnlyRootFilesystem"),
                json!(false),
                "root file system",
            ),
            app(security("capabilities"), json!({"drop": ["NET_RAW"]}), "drop all"),
            app(
                security("capabilities"),
                json!({"drop": ["ALL"], "add": ["SYS_ADMIN"]}),
                "adds capabilities",
            ),
            app(
                "/spec/template/spec/containers/0/ports/0/hostPort",
                json!(80),
                "host port",
            ),
            broken(
                "Deployment",
                "prometheus-adapter",
                "/spec/template/spec/initContainers/0/securityContext",
                json!({}),
                "container serving-cert",
            ),
        ],
    );
}

#[test]
fn tokens_images_resources_and_secrets_are_noticed() {
    let app = |pointer, value, said| broken("Deployment", "app-a", pointer, value, said);
    let container =
        |field: &str| -> &'static str { format!("/spec/template/spec/containers/0/{field}").leak() };
    expect_each_is_noticed(
        |objects| pods::tokens(objects, &CALLERS),
        &[
            app(
                "/spec/template/spec/automountServiceAccountToken",
                json!(true),
                "is not false",
            ),
            app(
                "/spec/template/spec/automountServiceAccountToken",
                Value::Null,
                "is not false",
            ),
            app(
                "/spec/template/spec/serviceAccountName",
                json!("default"),
                "there is no ServiceAccount",
            ),
            broken(
                "ServiceAccount",
                "prometheus",
                "/automountServiceAccountToken",
                json!(true),
                "is not false",
            ),
        ],
    );
    expect_each_is_noticed(
        |objects| pods::images(objects, &known_images()),
        &[
            app(container("image"), json!("app-a:latest"), "app-a:latest"),
            app(
                container("image"),
                json!("quay.io/prometheus/prometheus:v3.0.0"),
                "nor pinned",
            ),
            app(container("imagePullPolicy"), json!("Always"), "imagePullPolicy"),
            app(container("command"), json!(["/bin/sh"]), "has a command"),
        ],
    );
    expect_each_is_noticed(
        pods::resources,
        &[
            app(container("resources/limits/cpu"), json!("1"), "has a CPU limit"),
            app(
                container("resources/requests/cpu"),
                Value::Null,
                "has no CPU request",
            ),
            app(
                container("resources/limits/memory"),
                Value::Null,
                "has no memory limit",
            ),
        ],
    );
    expect_each_is_noticed(
        permissions::excessive,
        &[
            broken("Role", "prometheus", "/rules/0/verbs", json!(["*"]), "every verb"),
            broken(
                "Role",
                "prometheus",
                "/rules/0/resources",
                json!(["secrets"]),
                "Secrets",
            ),
            broken(
                "ClusterRole",
                "custom-metrics-reader",
                "/rules/0/apiGroups",
                json!([""]),
                "every namespace",
            ),
        ],
    );
    let key = "-----BEGIN PRIVATE KEY-----";
    let mut objects = local();
    objects.push(json!({"kind": "Secret", "metadata": {"name": "tls"}, "stringData": {"tls.key": key}}));
    assert_eq!(pods::secrets(&objects).len(), 2);
}
