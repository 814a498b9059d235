//! The registry of the cluster: every node pulls from it what was pushed on the machine.

use anyhow::{Context as _, Result, ensure};
use e2e::{apply, kubectl, succeed, with_diagnostics, xtask};
use serde_json::{Value, json};
use testbed::{paths, registry};

#[test]
fn each_node_runs_the_image_that_was_pushed_by_its_digest() {
    with_diagnostics(pull_on_each_node);
}

fn pull_on_each_node() -> Result<()> {
    succeed(&mut xtask(&["cluster", "up", "--nodes=2", "--type=small"]))?;
    succeed(&mut xtask(&["cluster", "registry"]))?;
    succeed(&mut xtask(&["images", "--quick", "--push", &registry::name()]))?;
    let record = std::fs::read_to_string(paths::target().join("images-quick/pushed.json"))?;
    let record: Value = serde_json::from_str(&record)?;
    let images = record["images"].as_array().context("no images")?;
    let image = images.iter().find(|image| image["name"] == "loadtest");
    let image = image.context("no loadtest")?;
    // The first node has the image under another name, with the same content. The added node has nothing of it.
    for node in ["testbed", "node-2"] {
        let name = format!("pulled-{node}");
        kubectl(&["delete", "pod", &name, "--ignore-not-found"])?;
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": name },
            "spec": {
                "nodeName": node,
                "restartPolicy": "Never",
                "containers": [{ "name": "loadtest", "image": image["reference"], "args": ["--version"] }],
            },
        });
        apply(&pod.to_string())?;
        kubectl(&[
            "wait",
            "pod",
            &name,
            "--for=jsonpath={.status.phase}=Succeeded",
            "--timeout=50s",
        ])?;
        let pod: Value = serde_json::from_str(&kubectl(&["get", "pod", &name, "-o", "json"])?)?;
        let status = &pod["status"]["containerStatuses"][0];
        let (running, pushed) = (status["imageID"].as_str(), image["digest"].as_str());
        let is_pushed = running
            .zip(pushed)
            .is_some_and(|(id, digest)| id.ends_with(digest));
        ensure!(is_pushed, "on {node}: {status}");
        kubectl(&["delete", "pod", &name])?;
    }
    Ok(())
}
