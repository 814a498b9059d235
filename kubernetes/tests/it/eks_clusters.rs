//! The files that create the clusters on EKS. eksctl's own code reads them.

use crate::{
    differences::differences,
    rendered::{cluster, on_eks},
};
use manifests::{
    objects::{self, labels, list, text},
    render,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};
use testbed::{
    components::{self, EKSCTL_CHECK},
    eks, versions,
};

const ENVIRONMENTS: [&str; 2] = ["dev", "prod"];

/// Reads the file of a cluster with eksctl's code. Returns it with eksctl's defaults, or what eksctl objects to.
fn read_with_eksctl(cluster: &Value) -> Result<Value, String> {
    components::build(&[EKSCTL_CHECK]).expect("eksctl-check builds");
    let mut child = Command::new(EKSCTL_CHECK.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("eksctl-check starts");
    let mut input = child.stdin.take().expect("a pipe");
    input
        .write_all(cluster.to_string().as_bytes())
        .expect("eksctl-check reads");
    drop(input);
    let output = child.wait_with_output().expect("eksctl-check exits");
    if output.status.success() {
        Ok(serde_json::from_slice(&output.stdout).expect("JSON"))
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[test]
fn eksctl_accepts_the_clusters() {
    for environment in ENVIRONMENTS {
        let read =
            read_with_eksctl(cluster(environment)).unwrap_or_else(|error| panic!("{environment}: {error}"));
        let group = &read["managedNodeGroups"][0];
        // Defaults of eksctl, which the file does not state.
        assert_eq!(group["disableIMDSv1"], true, "{environment}");
        assert_eq!(read["iam"]["withOIDC"], false, "{environment}");
        assert_eq!(group["privateNetworking"], true, "{environment}");
    }
}

/// Returns the cluster of dev with another value at a JSON pointer.
fn changed(pointer: &str, value: Value) -> Value {
    let mut cluster = cluster("dev").clone();
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    match cluster.pointer_mut(parent).expect("the parent exists") {
        Value::Array(items) => items[key.parse::<usize>().expect("an index")] = value,
        fields => fields[key] = value,
    }
    cluster
}

#[test]
fn eksctl_rejects_faults() {
    for (pointer, value, problem) in [
        ("/vpc/cidrs", json!("10.0.0.0/16"), "unknown field \"cidrs\""),
        (
            "/managedNodeGroups/0/amiFamily",
            json!("AmazonLinux2"),
            "AmazonLinux2 is not supported",
        ),
        ("/apiVersion", json!("eksctl.io/v1alpha6"), "v1alpha6"),
        ("/metadata/region", json!(""), "metadata.region"),
        ("/availabilityZones", json!(["eu-central-1a"]), "only 1 zone(s)"),
        ("/vpc/publicAccessCIDRs/0", json!("192.0.2.0/33"), "192.0.2.0/33"),
        (
            "/kubernetesNetworkConfig/serviceIPv4CIDR",
            json!("172.20.0.0"),
            "serviceIPv4CIDR",
        ),
        (
            "/cloudWatch/clusterLogging/enableTypes/0",
            json!("apiserver"),
            "apiserver",
        ),
        (
            "/cloudWatch/clusterLogging/logRetentionInDays",
            json!(31),
            "logRetentionInDays",
        ),
        ("/managedNodeGroups/0/minSize", json!(4), "nodes-min"),
        (
            "/managedNodeGroups/0/taints/0/effect",
            json!("Never"),
            "taint effect",
        ),
        (
            "/addons/1/configurationValues",
            json!("{\"enable"),
            "configurationValues",
        ),
        (
            "/iam/podIdentityAssociations/0/serviceAccountName",
            json!(""),
            "serviceAccountName",
        ),
        (
            "/iam/podIdentityAssociations/0/permissionPolicy",
            json!({}),
            "permissionPolicy",
        ),
    ] {
        match read_with_eksctl(&changed(pointer, value)) {
            Ok(_) => panic!("eksctl accepts {pointer}"),
            Err(error) => assert!(error.contains(problem), "{pointer}: {error}"),
        }
    }
}

/// eksctl's JSON Schema, which its editors' support uses, has values that its own validation leaves to AWS.
#[test]
fn the_clusters_match_the_schema_of_eksctl() {
    let path = eks::eksctl()
        .expect("the source")
        .join("pkg/apis/eksctl.io/v1alpha5/assets/schema.json");
    let text = fs::read_to_string(path).expect("readable");
    // The names of some definitions contain this character, which a reference must not.
    let schema = serde_json::from_str(&text.replace('|', ".")).expect("JSON");
    let schema = jsonschema::draft7::new(&schema).expect("a schema");
    let faults = |cluster: &Value| -> Vec<_> {
        schema
            .iter_errors(cluster)
            .map(|error| error.to_string())
            .collect()
    };
    for environment in ENVIRONMENTS {
        assert_eq!(faults(cluster(environment)), [""; 0], "{environment}");
    }
    for (pointer, value) in [
        ("/vpc/nat/gateway", "None"),
        ("/managedNodeGroups/0/volumeType", "gp9"),
        ("/managedNodeGroups/0/taint", "CriticalAddonsOnly"),
    ] {
        assert_ne!(faults(&changed(pointer, json!(value))), [""; 0], "{pointer}");
    }
}

#[test]
fn the_clusters_differ_in_names_hosts_and_sizes_only() {
    let without_name = |environment| {
        let mut cluster = cluster(environment).clone();
        cluster["metadata"]["name"].take();
        [cluster]
    };
    let expected = [
        // The number of NAT gateways.
        "/vpc/nat/gateway",
        "/managedNodeGroups/0/desiredCapacity",
        "/managedNodeGroups/0/minSize",
        "/managedNodeGroups/0/maxSize",
        // A name.
        "/managedNodeGroups/0/iam/instanceRoleName",
    ];
    let [dev, prod] = ENVIRONMENTS.map(without_name);
    let differing: BTreeSet<_> = differences(&dev, &prod)
        .into_iter()
        .map(|at| at.rsplit(' ').next().expect("a pointer").to_owned())
        .collect();
    assert_eq!(differing, BTreeSet::from(expected.map(str::to_owned)));
}

#[test]
fn the_clusters_have_the_version_of_the_testbed_and_the_pinned_add_ons() {
    for environment in ENVIRONMENTS {
        let cluster = cluster(environment);
        let version = text(cluster, "/metadata/version");
        assert!(
            versions::kubernetes().starts_with(&format!("v{version}.")),
            "{version}"
        );
        let addons = list(cluster, "/addons");
        let names: BTreeSet<_> = addons.iter().map(|addon| text(addon, "/name")).collect();
        let expected = ["coredns", "eks-pod-identity-agent", "kube-proxy", "vpc-cni"];
        assert_eq!(names, BTreeSet::from(expected));
        for addon in addons {
            // `latest` is no version.
            assert!(text(addon, "/version").contains("-eksbuild."), "{addon}");
        }
        let version_of = |name: &str| {
            let addon = addons.iter().find(|addon| text(addon, "/name") == name);
            text(addon.expect("the add-on"), "/version")
        };
        // kube-proxy has the version of the cluster.
        assert!(version_of("kube-proxy").starts_with(&format!("v{version}.")));
    }
}

#[test]
fn the_clusters_enforce_network_policies_in_three_zones_and_log_their_control_plane() {
    for environment in ENVIRONMENTS {
        let cluster = cluster(environment);
        assert_eq!(list(cluster, "/availabilityZones").len(), 3);
        // A text: the schema of the add-on defines no boolean.
        assert_eq!(values(cluster, "vpc-cni")["enableNetworkPolicy"], "true");
        let logs: BTreeSet<_> = list(cluster, "/cloudWatch/clusterLogging/enableTypes")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let all = ["api", "audit", "authenticator", "controllerManager", "scheduler"];
        assert_eq!(logs, BTreeSet::from(all), "{environment}");
    }
}

/// Returns the values of an add-on.
fn values(cluster: &Value, name: &str) -> Value {
    let addon = list(cluster, "/addons")
        .iter()
        .find(|addon| text(addon, "/name") == name)
        .unwrap_or_else(|| panic!("no add-on {name}"));
    serde_json::from_str(text(addon, "/configurationValues")).expect("JSON")
}

/// Otherwise Karpenter could move them, or its pool could have no node for them.
#[test]
fn what_the_nodes_of_karpenter_need_runs_on_the_nodes_of_the_system() {
    for environment in ENVIRONMENTS {
        let cluster = cluster(environment);
        let selector = &cluster["managedNodeGroups"][0]["labels"];
        assert_eq!(
            values(cluster, "coredns")["nodeSelector"],
            *selector,
            "{environment}"
        );
        assert_eq!(controller_values()["nodeSelector"], *selector, "{environment}");
    }
}

/// Returns our values of the chart of the controller of the load balancer.
fn controller_values() -> Value {
    parse(&render::root().join("clusters/eks/load-balancer-controller.yaml"))
}

fn parse(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    render::parse(&text).expect("YAML").remove(0)
}

/// A pod without the readiness gate would be ready before the load balancer sends it requests.
#[test]
fn no_pod_of_app_a_starts_without_the_readiness_gate() {
    let values = controller_values();
    assert_eq!(values["podMutatorWebhookConfig"]["failurePolicy"], "Fail");
    let selector = labels(&values, "/objectSelector/matchLabels");
    for overlay in on_eks() {
        let selected = objects::selected(&overlay.objects, "sample-app", &selector);
        let selected: Vec<_> = selected.map(|(workload, _)| objects::name(workload)).collect();
        assert_eq!(selected, ["app-a"], "overlay {}", overlay.name);
    }
}

/// helm ignores a value that a chart does not read.
#[test]
fn the_charts_know_every_value() {
    let clusters = render::root().join("clusters/eks");
    let karpenter = eks::karpenter().expect("the source");
    let controller = eks::load_balancer_controller().expect("the source");
    for (ours, chart) in [
        ("karpenter.yaml", karpenter.join("charts/karpenter/values.yaml")),
        (
            "load-balancer-controller.yaml",
            controller.join("helm/aws-load-balancer-controller/values.yaml"),
        ),
    ] {
        expect_known(&parse(&clusters.join(ours)), &parse(&chart), ours);
    }
    assert_eq!(
        controller_values()["region"],
        cluster("prod")["metadata"]["region"]
    );
}

/// Expects that every key of `ours` is one of the chart. Below an empty mapping of the chart everything is allowed.
fn expect_known(ours: &Value, chart: &Value, at: &str) {
    let (Value::Object(ours), Value::Object(chart)) = (ours, chart) else {
        return;
    };
    for (key, value) in ours {
        let known = chart.get(key);
        assert!(known.is_some() || chart.is_empty(), "{at} has no value {key}");
        if let Some(known) = known {
            expect_known(value, known, &format!("{at}.{key}"));
        }
    }
}

#[test]
fn the_documentation_names_the_version_of_the_controller_of_the_load_balancer() {
    let source = eks::load_balancer_controller().expect("the source");
    let version = fs::read_to_string(source.join("version.txt")).expect("readable");
    let path = render::root().join("../docs/eks.md");
    let documentation = fs::read_to_string(path).expect("readable");
    assert!(
        documentation.contains(&format!("--version {}", version.trim())),
        "{version}"
    );
}
