//! The deployment of Jenkins in `jenkins/`: its objects, the agents, and the agreement of its configuration with the Jenkinsfile.

use crate::{
    mutation::{expect_findings_in, mutation},
    rendered::schema,
};
use chain_check::policies::Port;
use manifests::{
    findings::{Finding, list as shown},
    objects::{containers, find, list, namespace, of_kind, text, workloads},
    permissions, pods, references, relations, render,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, path::PathBuf, sync::LazyLock};

fn folder() -> PathBuf {
    render::root().join("../jenkins")
}

fn read(file: &str) -> String {
    fs::read_to_string(render::root().join("..").join(file)).expect("readable")
}

/// What the administrator applies, and then a pod of the agents as the controller creates it.
static OBJECTS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let mut objects = render::render(&folder()).expect("rendered");
    objects.push(agent());
    objects
});

/// The configuration of Jenkins.
static CONFIGURATION: LazyLock<Value> = LazyLock::new(|| {
    let configuration = render::parse(&read("jenkins/configuration/jenkins.yaml"));
    configuration.expect("YAML").remove(0)
});

/// The pod of the agents, with the namespace and the name that the controller adds.
fn agent() -> Value {
    let cloud = cloud();
    let yaml = text(cloud, "/templates/0/yaml");
    let mut pod = render::parse(yaml).expect("YAML").remove(0);
    pod["metadata"]["namespace"] = cloud["namespace"].clone();
    pod["metadata"]["name"] = json!("delivery-1");
    pod
}

fn cloud() -> &'static Value {
    &CONFIGURATION["jenkins"]["clouds"][0]["kubernetes"]
}

fn expect_none(check: impl Fn(&[Value]) -> Vec<Finding>) {
    let findings = check(&OBJECTS);
    assert!(findings.is_empty(), "{}", shown(&findings));
}

#[test]
fn the_objects_are_valid_and_fit_together() {
    let schema = schema();
    expect_none(|objects| schema.check(objects).expect("usable"));
    expect_none(references::missing);
    expect_none(relations::identities);
    expect_none(relations::selectors);
    expect_none(relations::ports);
    expect_none(|objects| relations::exposure(objects, &[]));
}

#[test]
fn the_controller_and_the_agents_are_confined() {
    expect_none(pods::confinement);
    expect_none(pods::resources);
    expect_none(pods::secrets);
    expect_none(|objects| pods::tokens(objects, &["jenkins"]));
    for namespace in of_kind(&OBJECTS, "Namespace") {
        let level = text(namespace, "/metadata/labels/pod-security.kubernetes.io~1enforce");
        assert_eq!(level, "restricted", "{namespace}");
    }
    let template = |pointer, value, finding| mutation("StatefulSet", "jenkins", pointer, value, finding);
    let of_pod = "/spec/template/spec/securityContext/runAsNonRoot";
    expect_findings_in(
        &OBJECTS,
        pods::confinement,
        &[
            template(of_pod, json!(false), "runAsNonRoot"),
            mutation(
                "Pod",
                "delivery-1",
                "/spec/hostNetwork",
                json!(true),
                "hostNetwork",
            ),
        ],
    );
}

/// The role covers the pods of the namespace of the agents, and nothing with which they could be read or entered.
#[test]
fn the_controller_may_only_run_agents() {
    expect_none(permissions::excessive);
    let roles = OBJECTS
        .iter()
        .filter(|object| text(object, "/kind").ends_with("Role"));
    let roles: Vec<_> = roles
        .map(|role| (namespace(role), role["rules"].clone()))
        .collect();
    let expected = json!([
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["create", "delete", "get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["list", "watch"]},
    ]);
    assert_eq!(roles, [("jenkins-agents", expected)]);
    assert_eq!(of_kind(&OBJECTS, "RoleBinding").count(), 1);
    assert_eq!(of_kind(&OBJECTS, "ClusterRoleBinding").count(), 0);
    assert_eq!(text(cloud(), "/namespace"), "jenkins-agents");
    assert_eq!(
        text(cloud(), "/templates/0/serviceAccount"),
        text(&agent(), "/spec/serviceAccountName")
    );
}

#[test]
fn the_image_is_the_official_one_by_digest_and_the_plugins_have_versions() {
    let controller = find(&OBJECTS, "StatefulSet", "jenkins", "jenkins").expect("the controller");
    let images: BTreeSet<_> = containers(&controller["spec"]["template"])
        .map(|container| text(container, "/image"))
        .collect();
    assert_eq!(images.len(), 1, "{images:?}");
    let image = images.first().expect("an image");
    let (reference, digest) = image.split_once("@sha256:").expect("a digest");
    assert!(reference.starts_with("docker.io/jenkins/jenkins:"), "{image}");
    assert_eq!(digest.len(), 64, "{image}");

    let file = read("jenkins/configuration/plugins.txt");
    let plugins = file
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let plugins: BTreeSet<_> = plugins
        .map(|line| {
            let (name, version) = line
                .split_once(':')
                .unwrap_or_else(|| panic!("{line} has no version"));
            assert!(
                version.starts_with(|first: char| first.is_ascii_digit()),
                "{line}"
            );
            name
        })
        .collect();
    // Those that implement the steps of the Jenkinsfile, and the elements of the configuration.
    for plugin in [
        "configuration-as-code",
        "credentials-binding",
        "git",
        "htmlpublisher",
        "job-dsl",
        "junit",
        "kubernetes",
        "matrix-auth",
        "pipeline-input-step",
        "plain-credentials",
        "workflow-basic-steps",
        "workflow-durable-task-step",
        "workflow-multibranch",
    ] {
        assert!(plugins.contains(plugin), "{plugin}");
    }
}

/// Returns what follows `before` in a text, up to `after`, at each occurrence.
fn between<'text>(text: &'text str, before: &str, after: char) -> BTreeSet<&'text str> {
    let rest = text.split(before).skip(1);
    rest.map(|rest| rest.split(after).next().unwrap_or_default())
        .collect()
}

#[test]
fn jenkins_has_what_the_jenkinsfile_names() {
    let jenkinsfile = read("Jenkinsfile");
    let jenkins = &CONFIGURATION["jenkins"];
    let cloud = list(cloud(), "/templates")
        .iter()
        .map(|template| text(template, "/label"));
    let nodes = list(jenkins, "/nodes")
        .iter()
        .map(|node| text(node, "/permanent/labelString"));
    assert_eq!(
        between(&jenkinsfile, "agent: '", '\''),
        cloud.chain(nodes).collect()
    );

    let credentials = list(
        &CONFIGURATION,
        "/credentials/system/domainCredentials/0/credentials",
    );
    let ids = |kind: &str| -> BTreeSet<_> {
        let found = credentials
            .iter()
            .filter(|credential| credential.get(kind).is_some());
        found
            .map(|credential| text(credential, &format!("/{kind}/id")))
            .collect()
    };
    let named = |field: &str| between(&jenkinsfile, &format!("{field}: '"), '\'');
    assert_eq!(&named("credentialsId") | &named("kubeconfig"), ids("file"));
    assert_eq!(named("token"), ids("string"));

    let groups = list(jenkins, "/authorizationStrategy/globalMatrix/entries").iter();
    let groups: BTreeSet<_> = groups.map(|entry| text(entry, "/group/name")).collect();
    for submitter in between(&jenkinsfile, "submitter: '", '\'') {
        assert!(groups.contains(submitter), "{submitter}: {groups:?}");
    }

    let job = text(&CONFIGURATION, "/jobs/0/script");
    assert_eq!(
        between(job, "scriptPath('", '\''),
        BTreeSet::from(["Jenkinsfile"])
    );
    let key = text(jenkins, "/globalNodeProperties/0/envVars/env/0/key");
    assert!(jenkinsfile.contains(&format!("\"${key}\"")), "{key}");
}

/// No value of a secret is in a file of the repository, and a pod without one of the keys does not start.
#[test]
fn every_secret_is_a_key_that_the_pod_needs() {
    let configuration = read("jenkins/configuration/jenkins.yaml");
    let controller = find(&OBJECTS, "StatefulSet", "jenkins", "jenkins").expect("the controller");
    let volumes = list(controller, "/spec/template/spec/volumes");
    let secret = volumes
        .iter()
        .find_map(|volume| volume.get("secret"))
        .expect("the Secret");
    assert_eq!(secret.get("optional"), None);
    let keys: BTreeSet<_> = list(secret, "/items")
        .iter()
        .map(|item| text(item, "/path"))
        .collect();
    let used = between(&configuration, "/run/secrets/jenkins/", '}');
    assert_eq!(used, keys);

    for field in ["password", "secretBytes", "secret"] {
        let values = between(&configuration, &format!("{field}: "), '\n')
            .into_iter()
            .collect::<Vec<_>>();
        assert!(!values.is_empty(), "{field}");
        for value in values {
            assert!(
                value.contains("readFile") && value.contains(":/run/secrets/jenkins/"),
                "{field}: {value}"
            );
        }
    }
    let realm = &CONFIGURATION["jenkins"]["securityRealm"]["local"];
    assert_eq!(realm["allowsSignup"], false);
    assert!(
        !configuration.contains("anonymous\n"),
        "anonymous users have permissions"
    );
    let readme = read("jenkins/README.md");
    for key in keys {
        assert!(
            readme.contains(&format!("--from-file={key}="))
                || readme.contains(&format!("--from-literal={key}=")),
            "{key}"
        );
    }
}

#[test]
fn no_build_runs_on_the_controller_and_the_quota_is_that_of_the_agents() {
    assert_eq!(CONFIGURATION["jenkins"]["numExecutors"], 0);
    let quota = find(&OBJECTS, "ResourceQuota", "jenkins-agents", "agents").expect("a quota");
    assert_eq!(
        text(quota, "/spec/hard/pods"),
        cloud()["containerCap"].to_string()
    );
}

#[test]
fn agents_reach_the_controller_and_nobody_reaches_the_agents() {
    let controller = find(&OBJECTS, "StatefulSet", "jenkins", "jenkins").expect("the controller");
    let agent = agent();
    let stranger = json!({
        "kind": "Pod",
        "metadata": {"name": "pod", "namespace": "elsewhere", "labels": {"app.kubernetes.io/name": "jenkins-agent"}},
    });
    let allows =
        |from: &Value, of: &Value, number| Port { of, number }.refuses(&OBJECTS, from, |_| false).is_none();
    assert!(allows(&agent, controller, 8080));
    assert!(!allows(&agent, controller, 50_000));
    assert!(!allows(&stranger, controller, 8080));
    for port in [22, 443, 8080] {
        assert!(
            !allows(controller, &agent, port) && !allows(&stranger, &agent, port),
            "{port}"
        );
    }
    // The API server, the repository and the registries, but no plain HTTP.
    for from in [controller, &agent] {
        assert!(allows(from, &stranger, 443) && !allows(from, &stranger, 80));
    }
    assert_eq!(workloads(&OBJECTS).count(), 2);
}
