//! The deployment of Jenkins on a real API server: it admits the controller and the agents, and refuses what the controller may not do.
//! Jenkins itself does not run: its image is not available here, so its pod stays pending.

use std::fs;

use anyhow::{Context as _, Result, bail, ensure};
use e2e::{eventually, kubectl, output, succeed, text, with_diagnostics, xtask};
use testbed::{cluster, paths};

const CONTROLLER: &str = "--as=system:serviceaccount:jenkins:jenkins";

/// The pod of an agent as the controller creates it: the template of its configuration, with a name.
fn agent() -> Result<String> {
    let file = paths::workspace().join("jenkins/configuration/jenkins.yaml");
    let configuration = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let (before, after) = configuration
        .split_once("            yaml: |\n")
        .context("no template")?;
    ensure!(
        !before.is_empty() && !after.contains("yaml: |"),
        "more than one template"
    );
    let indented = after
        .lines()
        .map_while(|line| line.strip_prefix("              "));
    let pod: Vec<_> = indented.collect();
    let pod = pod.join("\n").replace("${REGISTRY}", "registry.example");
    Ok(pod.replacen("metadata:\n", "metadata:\n  name: delivery-1\n", 1))
}

/// Creates an object without storing it. Returns the answer of the API server, and whether it accepts the object.
fn create(object: &str, options: &[&str]) -> Result<(bool, String)> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), object)?;
    let mut create = cluster::kubectl();
    create
        .args(["create", "--dry-run=server", "--validate=strict", "--filename"])
        .arg(file.path())
        .args(options);
    let answer = output(&mut create)?;
    Ok((answer.status.success(), text(&answer)))
}

fn refuse(object: &str, options: &[&str], reason: &str) -> Result<()> {
    let (accepted, answer) = create(object, options)?;
    if accepted || !answer.contains(reason) {
        bail!("not refused with {reason:?}: {answer}");
    }
    Ok(())
}

fn check() -> Result<()> {
    let mut apply = cluster::kubectl();
    apply
        .current_dir(paths::workspace())
        .args(["apply", "--validate=strict", "-k", "jenkins"]);
    let applied = text(&output(&mut apply)?);
    ensure!(applied.contains("statefulset.apps/jenkins created"), "{applied}");
    // The namespace warns about a template that it would refuse as a pod.
    ensure!(!applied.contains("Warning"), "{applied}");
    eventually("the API server admits the pod of the controller", || {
        kubectl(&["--namespace", "jenkins", "get", "pod", "jenkins-0"]).map(drop)
    })?;

    let agent = agent()?;
    let in_agents = [CONTROLLER, "--namespace", "jenkins-agents"];
    // The quota refuses pods until its controller has counted them.
    eventually("the API server admits an agent", || {
        let (accepted, answer) = create(&agent, &in_agents)?;
        ensure!(accepted && !answer.contains("Warning"), "{answer}");
        Ok(())
    })?;
    let root = agent.replace("runAsNonRoot: true", "runAsNonRoot: false");
    refuse(&root, &in_agents, "violates PodSecurity \"restricted:latest\"")?;
    let large = agent.replace("memory: 8Gi", "memory: 64Gi");
    refuse(&large, &in_agents, "exceeded quota")?;
    refuse(&agent, &[CONTROLLER, "--namespace", "jenkins"], "forbidden")?;
    for (namespace, verb, resource, subresource, allowed) in [
        ("jenkins-agents", "delete", "pods", "", "yes"),
        ("jenkins-agents", "get", "pods", "log", "yes"),
        ("jenkins-agents", "create", "pods", "exec", "no"),
        ("jenkins-agents", "get", "secrets", "", "no"),
        ("jenkins", "get", "secrets", "", "no"),
        ("jenkins", "delete", "pods", "", "no"),
        ("default", "create", "pods", "", "no"),
    ] {
        let mut question = cluster::kubectl();
        question.args(["auth", "can-i", verb, resource, CONTROLLER]);
        question.args(["--namespace", namespace, "--subresource", subresource]);
        // It fails if the answer is no.
        let answer = text(&output(&mut question)?);
        ensure!(
            answer.lines().any(|line| line == allowed),
            "{verb} {resource} {subresource} in {namespace}: {answer}"
        );
    }
    Ok(())
}

#[test]
fn the_api_server_admits_jenkins_and_its_agents_and_nothing_else_of_it() {
    with_diagnostics(|| {
        succeed(&mut xtask(&["cluster", "up"]))?;
        let checked = check();
        let deleted = kubectl(&["delete", "--wait=false", "-k", "jenkins"]);
        checked.and(deleted.map(drop))
    });
}
