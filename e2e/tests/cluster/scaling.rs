//! The proof: the pair, deployed as users deploy it, scales out and in without a lost request.

mod stages;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::{
    COMMAND_DEADLINE, OVERLAY, PROOF_DEADLINE, apply_changed, deploy, eventually, kubectl, kubectl_within,
    request, rounds, succeed, succeed_within, wait_for_chain, with_diagnostics, xtask,
};
use serde_json::Value;
use testbed::{cluster, kubeadm, paths, wait};

use crate::certificate::api_service_bundle;
use crate::processes::Namespace;
use crate::report::{check_report, prove};

/// The time at the expected replicas. 40 s are a sync period of the HPA, and the 30 s for which the metric is averaged.
const PLATEAU: [&str; 2] = ["--plateau", "40s"];

/// The address of `app_a` on the machine.
pub(crate) const URL: &str = "http://127.0.0.1:30080";

/// Waits until both services are at their minimum of two replicas: an earlier test may have left more.
pub(crate) fn wait_for_minimum() -> Result<()> {
    eventually("both Deployments at two replicas", || {
        for name in ["app-a", "app-b"] {
            let replicas = kubectl(&[
                "-n",
                "sample-app",
                "get",
                "deployment",
                name,
                "-o",
                "jsonpath={.status.replicas}/{.status.readyReplicas}",
            ])?;
            ensure!(replicas == "2/2", "{name} has {replicas}");
        }
        Ok(())
    })
}

/// Deploys the pair, at rest, on a cluster that enforces the network policies.
fn deploy_with_policies() -> Result<()> {
    deploy()?;
    succeed_within(COMMAND_DEADLINE, &mut xtask(&["cluster", "network-policy"]))?;
    wait_for_minimum()
}

/// Proves a step of `GET /hello` that needs 8 pods of `app_a`: from 2 to 8 and back to 2. The report gets this name.
fn prove_step(name: &str) -> Result<()> {
    deploy_with_policies()?;
    let url = format!("{URL}/hello");
    prove(
        name,
        &[("app-a", 8)],
        &["--url", &url, "--replicas", "8", PLATEAU[0], PLATEAU[1]],
    )
}

#[test]
fn a_mix_with_jobs_scales_both_services() {
    with_diagnostics(|| {
        for round in 1..=rounds() {
            deploy_with_policies()?;
            let (hello, jobs) = (format!("53 GET {URL}/hello"), format!("47 PUT {URL}/jobs"));
            // 378 requests per second need 8 pods of app_a at 50 each: the HPA's tolerance of 2 % keeps 7 pods up to 357. 47 of 100
            // requests reach app_b: 177.66 per second, which need 4 pods. The tolerance keeps 3 pods up to 153. Both rates are in the
            // middle between the bounds.
            let load = [
                "--target",
                &hello,
                "--target",
                &jobs,
                "--header",
                "Authorization: mytoken",
                "--rate",
                "378",
                PLATEAU[0],
                PLATEAU[1],
            ];
            let expected = ["--expect", "app-a=378", "--expect", "app-b=177.66"];
            prove(
                &format!("scale-mix-{round}"),
                &[("app-a", 8), ("app-b", 4)],
                &[load.as_slice(), &expected].concat(),
            )?;
        }
        Ok(())
    });
}

#[test]
fn the_pair_answers_on_the_node_port() {
    with_diagnostics(|| {
        deploy()?;
        let address = URL.trim_start_matches("http://").parse()?;
        // A pod is ready a moment before kube-proxy routes to it.
        let hello = wait::until("a response", Duration::from_secs(10), || {
            request(address, "GET", "/hello", &[])
        })?;
        ensure!(
            hello.starts_with("HTTP/1.1 200") && hello.ends_with("Hello there"),
            "{hello}"
        );
        ensure!(hello.to_lowercase().contains("x-served-by: app-a-"), "{hello}");
        let jobs = request(address, "PUT", "/jobs", &[("Authorization", "mytoken")])?;
        ensure!(
            jobs.ends_with("Jobs:\nTitle: Devops\nDescription: Awesome\n"),
            "{jobs}"
        );
        let rejected = request(address, "PUT", "/jobs", &[("Authorization", "wrong")])?;
        ensure!(
            rejected.starts_with("HTTP/1.1 401") && rejected.ends_with("fail"),
            "{rejected}"
        );
        Ok(())
    });
}

/// What an apply could change: each object without its status, and the pods with their restarts.
///
/// kubectl's own output is no evidence: it reports every `PodDisruptionBudget` as "configured", because an apply replaces its spec
/// as a whole.
fn deployed_objects() -> Result<BTreeMap<String, Value>> {
    let kinds = "deployments,replicasets,services,configmaps,serviceaccounts,hpa,pdb,roles,rolebindings,pods";
    let mut objects = BTreeMap::new();
    for namespace in ["sample-app", "monitoring"] {
        let list: Value = serde_json::from_str(&kubectl(&["-n", namespace, "get", kinds, "-o", "json"])?)?;
        for mut object in list["items"].as_array().context("no list")?.clone() {
            // Pods of an earlier scale-down may still be shutting down.
            if !object["metadata"]["deletionTimestamp"].is_null() {
                continue;
            }
            let restarts = object["status"]["containerStatuses"]
                .as_array()
                .map(|containers| {
                    containers
                        .iter()
                        .map(|each| each["restartCount"].clone())
                        .collect()
                });
            object["status"] = Value::Array(restarts.unwrap_or_default());
            let name = format!("{} {namespace}/{}", object["kind"], object["metadata"]["name"]);
            let metadata = object["metadata"].as_object_mut().context("no metadata")?;
            // A server-side apply also changes the owners of the fields and the annotation of client-side applies.
            for field in ["managedFields", "resourceVersion", "annotations"] {
                metadata.remove(field);
            }
            // For a Deployment, a changed annotation is a new generation. Its ReplicaSets and pods show that nothing rolled out.
            if object["kind"] == "Deployment" {
                object["metadata"]
                    .as_object_mut()
                    .context("no metadata")?
                    .remove("generation");
            }
            objects.insert(name, object);
        }
    }
    Ok(objects)
}

fn deployment_versions() -> Result<String> {
    let columns = "custom-columns=:.metadata.namespace,:.metadata.name,:.metadata.resourceVersion";
    kubectl(&["get", "deployments", "-A", "-o", columns])
}

#[test]
fn applies_on_the_client_and_on_the_server_by_turns_change_nothing() {
    with_diagnostics(|| {
        deploy()?;
        wait_for_minimum()?;
        wait_for_chain()?;
        let before = deployed_objects()?;
        for side in ["false", "true", "false"] {
            let server_side = format!("--server-side={side}");
            let apply = ["apply", "-k", OVERLAY, &server_side];
            kubectl(&apply)?;
            let first = deployment_versions()?;
            kubectl(&apply)?;
            let second = deployment_versions()?;
            ensure!(
                first == second,
                "{server_side}: the second apply wrote a Deployment.\nbefore:\n{first}\nafter:\n{second}"
            );
            let after = deployed_objects()?;
            let differ = |name: &&String| before.get(*name) != after.get(*name);
            let changed: Vec<_> = before.keys().chain(after.keys()).filter(differ).collect();
            ensure!(changed.is_empty(), "{server_side}: changed {changed:#?}");
            // The sidecar would set it again, but only after up to 10 s.
            ensure!(
                !api_service_bundle()?.is_empty(),
                "{server_side} removed the caBundle of the APIService"
            );
        }

        // A field that a client-side apply has changed gets its value back.
        apply_changed(&[(
            "base/app-a/deployment.yaml",
            "revisionHistoryLimit: 3",
            "revisionHistoryLimit: 4",
        )])?;
        let apply = ["apply", "-k", OVERLAY, "--server-side"];
        kubectl(&[&apply[..], &["--force-conflicts"]].concat())?;
        let limit = "jsonpath={.spec.revisionHistoryLimit}";
        let limit = kubectl(&["-n", "sample-app", "get", "deployment", "app-a", "-o", limit])?;
        ensure!(limit == "3", "revisionHistoryLimit is {limit}");
        Ok(())
    });
}

/// Deletes the overlay, and waits until none of its objects is left.
fn delete_overlay() -> Result<()> {
    kubectl_within(COMMAND_DEADLINE, &["delete", "-k", OVERLAY, "--timeout=180s"])?;
    eventually("no object of the overlay is left", || {
        let kinds = "namespaces,clusterroles,clusterrolebindings,apiservices";
        let all = kubectl(&["get", kinds, "-o", "name"])?;
        let left: Vec<_> = all
            .lines()
            // Kubernetes itself has roles with such names.
            .filter(|name| !name.contains("/system:"))
            .filter(|name| {
                ["sample-app", "monitoring", "custom", "prometheus", "serving-cert"]
                    .iter()
                    .any(|ours| name.contains(ours))
            })
            .collect();
        ensure!(left.is_empty(), "still there: {left:?}");
        Ok(())
    })
}

#[test]
fn the_demo_deploys_again_after_a_delete_on_a_cluster_of_the_kubeconfig() {
    with_diagnostics(|| {
        deploy()?;
        delete_overlay()?;
        let tools = tempfile::tempdir()?;
        // The testbed gets the name of a kind cluster, and the current context is another cluster. A command that ignores
        // --context therefore fails.
        let kubeconfig = tools.path().join("kubeconfig");
        std::fs::copy(paths::kubeconfig(), &kubeconfig)?;
        let config = |arguments: &[&str]| {
            let mut command = cluster::kubectl();
            succeed(
                command
                    .env("KUBECONFIG", &kubeconfig)
                    .arg("config")
                    .args(arguments),
            )
        };
        let own = config(&["current-context"])?;
        config(&["rename-context", own.trim(), "kind-own"])?;
        config(&["set-cluster", "other", "--server", "https://127.0.0.1:1"])?;
        config(&["set-context", "other", "--cluster", "other"])?;
        config(&["use-context", "other"])?;

        // kind needs a container engine. This stand-in has only the command that imports an archive on the node.
        let imported = tools.path().join("imported");
        let kind = format!(
            "#!/bin/sh -eu\n[ \"$1 $2 $3 $4\" = 'load image-archive --name own' ]\n\"$XTASK\" cluster load \"$5\"\nbasename \"$5\" >> {}\n",
            imported.display()
        );
        executable(&tools.path().join("kind"), &kind)?;
        std::os::unix::fs::symlink(cluster::kubectl().get_program(), tools.path().join("kubectl"))?;
        let path = std::env::var("PATH")?;
        // The demo runs in the cluster's network, as on a machine with kind or minikube: it reaches the address and the port
        // of the node, so it needs no --url.
        let mut demo = std::process::Command::new("nsenter");
        demo.current_dir(paths::workspace())
            .arg(format!("--net={}", Namespace::of_the_cluster()?.network()))
            .arg(xtask(&[]).get_program())
            .args(["demo", "--context", "kind-own", "--rate", "130"])
            .env("XTASK", xtask(&[]).get_program())
            .env("KUBECONFIG", &kubeconfig)
            .env("PATH", format!("{}:{path}", tools.path().display()));
        // 130 requests/s need 3 pods at 50 each: the tolerance keeps 2 pods up to 102, and 3 pods up to 153.
        let printed = succeed_within(PROOF_DEADLINE, &mut demo)?;
        ensure!(
            std::fs::read_to_string(imported)? == "app-a.tar\napp-b.tar\nserving-cert.tar\n",
            "{printed}"
        );
        ensure!(
            printed.contains(&format!("http://{}:30080/hello", kubeadm::NODE_ADDRESS)),
            "{printed}"
        );
        check_report(&paths::target().join("report/scale.json"), &[("app-a", 3)])?;
        wait_for_chain()
    });
}

fn executable(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}
