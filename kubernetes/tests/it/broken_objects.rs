//! Runs each check of objects against objects with a fault.

use crate::{
    mutation::{expect_findings, mutation},
    rendered::{CALLERS, known_images, local, public, schema},
};
use manifests::{permissions, pods, relations};
use serde_json::{Value, json};

#[test]
fn the_schema_rejects_what_the_api_server_rejects() {
    let schema = schema();
    let container = "/spec/template/spec/containers/0";
    let in_container = |field: &str| -> &'static str { format!("{container}/{field}").leak() };
    expect_findings(
        |objects| schema.check(objects).expect("usable"),
        &[
            mutation("Deployment", "app-a", "/spec/replica", json!(2), "replica"),
            mutation(
                "Deployment",
                "app-a",
                "/apiVersion",
                json!("apps/v1beta1"),
                "does not have apps/v1beta1",
            ),
            mutation(
                "Deployment",
                "app-a",
                in_container("readinesProbe"),
                json!({}),
                "readinesProbe",
            ),
            mutation(
                "Deployment",
                "app-a",
                in_container("ports/0/containerPort"),
                json!("5000"),
                "integer",
            ),
            mutation(
                "Deployment",
                "app-a",
                in_container("resources/limits/memory"),
                json!("64 MB"),
                "64 MB",
            ),
            mutation("Deployment", "app-a", "/spec/selector", Value::Null, "selector"),
            mutation(
                "PodDisruptionBudget",
                "app-a",
                "/spec/maxUnavailable",
                json!([1]),
                "maxUnavailable",
            ),
            mutation(
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
fn faults_of_autoscalers_are_found() {
    expect_findings(
        relations::scaling,
        &[
            mutation("Deployment", "app-a", "/spec/replicas", json!(2), "sets replicas"),
            mutation(
                "HorizontalPodAutoscaler",
                "app-b",
                "/spec/scaleTargetRef/name",
                json!("app-a"),
                "already scales",
            ),
            mutation(
                "HorizontalPodAutoscaler",
                "app-b",
                "/spec/scaleTargetRef/name",
                json!("app-c"),
                "does not exist",
            ),
            mutation(
                "HorizontalPodAutoscaler",
                "app-a",
                "/spec/maxReplicas",
                json!(2),
                "must be at least 1",
            ),
            mutation(
                "HorizontalPodAutoscaler",
                "app-a",
                "/spec/behavior/scaleUp",
                Value::Null,
                "scaleUp has no window",
            ),
        ],
    );
}

#[test]
fn faults_of_selectors_ports_and_names_are_found() {
    let labels = "/spec/template/metadata/labels/app.kubernetes.io~1name";
    expect_findings(
        relations::selectors,
        &[
            mutation("Deployment", "app-a", labels, json!("app-c"), "selects no pods"),
            mutation("Deployment", "app-a", labels, json!("app-b"), "selects no pods"),
            mutation(
                "Service",
                "app-b",
                "/spec/selector/app.kubernetes.io~1name",
                json!("b"),
                "Service sample-app/app-b",
            ),
            mutation(
                "PodDisruptionBudget",
                "app-b",
                "/spec/selector/matchLabels",
                json!({"a": "b"}),
                "selects no pods",
            ),
            mutation(
                "Service",
                "app-a",
                "/spec/selector",
                json!({"app.kubernetes.io/part-of": "sample-app"}),
                "2 workloads",
            ),
        ],
    );
    expect_findings(
        relations::ports,
        &[
            mutation(
                "Service",
                "app-a",
                "/spec/ports/0/targetPort",
                json!("other"),
                "has the port",
            ),
            mutation(
                "Service",
                "app-b",
                "/spec/ports/0/targetPort",
                json!(5000),
                "has the port 5000",
            ),
            mutation(
                "Deployment",
                "app-a",
                "/spec/template/spec/containers/0/readinessProbe/httpGet/port",
                json!("metrics"),
                "readinessProbe",
            ),
        ],
    );
    expect_findings(
        |objects| relations::exposure(objects, public("production")),
        &[
            mutation(
                "Service",
                "app-b",
                "/spec/type",
                json!("NodePort"),
                "reachable from outside",
            ),
            mutation(
                "Service",
                "prometheus",
                "/spec/type",
                json!("NodePort"),
                "reachable from outside",
            ),
        ],
    );
    expect_findings(
        relations::identities,
        &[
            mutation(
                "Service",
                "app-b",
                "/metadata/name",
                json!("app-a"),
                "is defined twice",
            ),
            mutation(
                "Service",
                "app-b",
                "/metadata/namespace",
                json!("sample"),
                "does not exist",
            ),
        ],
    );
}

#[test]
fn faults_of_confinement_are_found() {
    let pod = |field: &str| -> &'static str { format!("/spec/template/spec/{field}").leak() };
    let security = |field: &str| -> &'static str {
        format!("/spec/template/spec/containers/0/securityContext/{field}").leak()
    };
    let app = |pointer, value, finding| mutation("Deployment", "app-b", pointer, value, finding);
    expect_findings(
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
            mutation(
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
fn faults_of_tokens_images_resources_roles_and_secrets_are_found() {
    let app = |pointer, value, finding| mutation("Deployment", "app-a", pointer, value, finding);
    let container =
        |field: &str| -> &'static str { format!("/spec/template/spec/containers/0/{field}").leak() };
    expect_findings(
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
                "ServiceAccount",
            ),
            mutation(
                "ServiceAccount",
                "prometheus",
                "/automountServiceAccountToken",
                json!(true),
                "is not false",
            ),
        ],
    );
    expect_findings(
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
    expect_findings(
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
    expect_findings(
        permissions::excessive,
        &[
            mutation("Role", "prometheus", "/rules/0/verbs", json!(["*"]), "every verb"),
            mutation(
                "Role",
                "prometheus",
                "/rules/0/resources",
                json!(["secrets"]),
                "Secrets",
            ),
            mutation(
                "ClusterRole",
                "custom-metrics-reader",
                "/rules/0/apiGroups",
                json!([""]),
                "every namespace",
            ),
            mutation(
                "ClusterRole",
                "prometheus-adapter:auth-reader",
                "/rules/0/resourceNames",
                Value::Null,
                "every namespace",
            ),
        ],
    );
    let key = "-----BEGIN PRIVATE KEY-----";
    let mut objects = local();
    objects.push(json!({"kind": "Secret", "metadata": {"name": "tls"}, "stringData": {"tls.key": key}}));
    assert_eq!(pods::secrets(&objects).len(), 2);
}
