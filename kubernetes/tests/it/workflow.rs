//! The rules of the workflow of GitHub Actions that no run on this machine shows, and its agreement with the Jenkinsfile.

use manifests::{
    objects::{list, text},
    render,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs};
use testbed::versions::{self, GoVersion};

const FILE: &str = ".github/workflows/delivery.yml";

fn read(file: &str) -> String {
    fs::read_to_string(render::root().join("..").join(file)).expect("readable")
}

fn workflow() -> Value {
    render::parse(&read(FILE)).expect("YAML").remove(0)
}

/// The jobs, each with its name.
fn jobs(workflow: &Value) -> impl Iterator<Item = (&String, &Value)> {
    workflow["jobs"].as_object().expect("jobs").iter()
}

fn steps(job: &Value) -> impl Iterator<Item = &Value> {
    list(job, "/steps").iter()
}

#[test]
fn jobs_have_least_permissions_an_environment_and_a_timeout() {
    let workflow = workflow();
    assert_eq!(workflow["permissions"], json!({}));
    let mut environments = Vec::new();
    for (name, job) in jobs(&workflow) {
        // A token for AWS, and nothing in the repository but reading.
        assert_eq!(
            job["permissions"],
            json!({"contents": "read", "id-token": "write"}),
            "{name}"
        );
        assert!(
            job["timeout-minutes"]
                .as_u64()
                .is_some_and(|minutes| minutes <= 300),
            "{name}"
        );
        environments.push((name.as_str(), text(job, "/environment")));
        let checkout = steps(job).next().expect("a step");
        assert!(text(checkout, "/uses").starts_with("actions/checkout@"), "{name}");
        assert_eq!(checkout["with"]["persist-credentials"], false, "{name}");
    }
    environments.sort_unstable();
    // The approval is a rule of the environment `prod`.
    let expected = [
        ("build", "build"),
        ("dev", "dev"),
        ("local", "build"),
        ("prod", "prod"),
    ];
    assert_eq!(environments, expected);
    // The only stored secret is the token of a user of the pair. Both are secrets of an environment.
    let text = read(FILE);
    let secrets = text.split("secrets.").skip(1);
    let secrets: Vec<_> = secrets
        .map(|rest| rest.split(' ').next().unwrap_or_default())
        .collect();
    assert_eq!(secrets, ["LOADTEST_TOKEN", "LOADTEST_TOKEN"]);
}

#[test]
fn runs_of_a_branch_wait_for_each_other() {
    let expected = json!({"group": "delivery-${{ github.ref }}", "cancel-in-progress": false});
    assert_eq!(workflow()["concurrency"], expected);
}

#[test]
fn actions_of_other_projects_are_pinned_by_commit() {
    let text = read(FILE);
    let uses: Vec<_> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- uses: "))
        .collect();
    assert!(uses.len() > 10, "{uses:?}");
    for action in uses.into_iter().filter(|action| !action.starts_with("./")) {
        let (reference, comment) = action.split_once(" # ").expect("a comment with the release");
        let (_, commit) = reference.split_once('@').expect("a commit");
        let is_commit = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(is_commit && comment.starts_with('v'), "{action}");
    }
}

/// An expression in a script would be replaced before the shell reads it, so its value could be a command.
#[test]
fn no_script_contains_an_expression() {
    let workflow = workflow();
    for (name, job) in jobs(&workflow) {
        for step in steps(job) {
            assert!(!text(step, "/run").contains("${{"), "{name}: {step}");
        }
    }
}

#[test]
fn reports_are_kept_also_after_a_failure() {
    let workflow = workflow();
    for (name, job) in jobs(&workflow) {
        let report = format!("target/pipeline/{name}");
        let step = steps(job).find(|step| text(step, "/with/path") == report);
        assert_eq!(step.expect("an upload")["if"], "always()", "{name}");
    }
}

/// The commands, without what a host needs around them.
#[test]
fn the_workflow_and_the_jenkinsfile_run_the_same_commands() {
    fn commands(text: &str) -> BTreeSet<&str> {
        let rest = text.split("cargo xtask pipeline --stage").skip(1);
        rest.map(|rest| rest.split(['\'', '\n']).next().unwrap_or_default())
            .collect()
    }
    let (jenkinsfile, workflow) = (read("Jenkinsfile"), read(FILE));
    assert_eq!(commands(&jenkinsfile).len(), 4);
    assert_eq!(commands(&jenkinsfile), commands(&workflow));
}

#[test]
fn the_tools_are_those_that_the_project_needs() {
    let tools = read(".github/actions/tools/action.yml");
    let dockerfile = read("jenkins/agent-image/Dockerfile");
    let rust = env!("CARGO_PKG_RUST_VERSION");
    assert!(tools.contains(&format!("rustup default {rust}\n")), "{tools}");
    assert!(
        dockerfile.contains(&format!("FROM rust:{rust}-bookworm AS rust")),
        "{dockerfile}"
    );
    for (text, before) in [(&tools, "golang.org/dl/go"), (&dockerfile, "FROM golang:")] {
        let (_, version) = text.split_once(before).expect("a version of Go");
        let parsed = version.split(['@', '-']).next().and_then(GoVersion::parse);
        assert!(parsed >= Some(versions::minimum_go()), "{version}");
    }
}
