//! The overlays for EKS, validated by an API server that knows the kinds of the controllers there. Nothing of them is created.

use anyhow::{Result, bail, ensure};
use e2e::{deploy, kubectl, output, succeed, text, with_diagnostics, xtask};
use testbed::{cluster, definitions, eks};

/// Validates the overlays, and objects with faults: one that only a rule of a definition (CEL) finds, one of a definition's values, and
/// an unknown field.
fn validate() -> Result<()> {
    for overlay in ["dev", "prod"] {
        let path = format!("kubernetes/overlays/{overlay}");
        let printed = kubectl(&["apply", "--dry-run=server", "--validate=strict", "-k", &path])?;
        for object in [
            "nodepool.karpenter.sh/default",
            "ec2nodeclass.karpenter.k8s.aws/default",
            "ingressclassparams.elbv2.k8s.aws/public",
            "ingress.networking.k8s.io/app-a",
        ] {
            ensure!(
                printed.contains(&format!("{object} created (server dry run)")),
                "{overlay}: {printed}"
            );
        }
    }
    reject(CLASS, "mutually exclusive")?;
    reject(PARAMETERS, "Unsupported value: \"public\"")?;
    reject(INGRESS, "unknown field \"spec.ingressClass\"")
}

const CLASS: &str = r#"{
    "apiVersion": "karpenter.k8s.aws/v1",
    "kind": "EC2NodeClass",
    "metadata": {"name": "faulty"},
    "spec": {
        "role": "node",
        "amiSelectorTerms": [{"alias": "al2023@latest", "id": "ami-0123456789abcdef0"}],
        "subnetSelectorTerms": [{"id": "subnet-0123456789abcdef0"}],
        "securityGroupSelectorTerms": [{"id": "sg-0123456789abcdef0"}]
    }
}"#;

const PARAMETERS: &str = r#"{
    "apiVersion": "elbv2.k8s.aws/v1beta1",
    "kind": "IngressClassParams",
    "metadata": {"name": "faulty"},
    "spec": {"scheme": "public"}
}"#;

const INGRESS: &str = r#"{
    "apiVersion": "networking.k8s.io/v1",
    "kind": "Ingress",
    "metadata": {"name": "faulty"},
    "spec": {
        "ingressClass": "public",
        "defaultBackend": {"service": {"name": "app-a", "port": {"name": "http"}}}
    }
}"#;

/// Expects that the API server rejects an object with this message.
fn reject(object: &str, message: &str) -> Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), object)?;
    let mut apply = cluster::kubectl();
    apply
        .args(["apply", "--dry-run=server", "--validate=strict", "--filename"])
        .arg(file.path());
    let answer = output(&mut apply)?;
    if answer.status.success() || !text(&answer).contains(message) {
        bail!("not rejected with {message:?}: {object}: {}", text(&answer));
    }
    Ok(())
}

#[test]
fn the_api_server_accepts_the_overlays_for_eks() {
    with_diagnostics(|| {
        if kubectl(&["get", "crd", "nodepools.karpenter.sh"]).is_ok() {
            // The cluster of another suite, with a pool for the testbed under the same name.
            succeed(&mut xtask(&["cluster", "down"]))?;
        }
        // For the namespaces: without them, the API server rejects the objects in them.
        deploy()?;
        kubectl(&["create", "namespace", "karpenter"])?;
        let files = eks::definitions()?;
        let validated = definitions::apply(&files).and_then(|()| validate());
        kubectl(&["delete", "namespace", "karpenter"])?;
        validated.and(definitions::delete(&files))
    });
}
