//! Runs the workflow of GitHub Actions with act, on this machine instead of in containers. Stand-ins replace the programs that the workflow
//! calls, and the actions of other projects, which cannot be downloaded without a network. What only GitHub does is not tested: approvals,
//! permissions, and the tokens for AWS.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use e2e::text;
use tempfile::TempDir;
use testbed::components::ACT;
use testbed::{command, paths};

/// act takes 4 s for the whole workflow on a busy machine.
const DEADLINE: Duration = Duration::from_mins(2);

/// The programs that the workflow calls.
const PROGRAMS: [&str; 6] = ["aws", "cargo", "docker", "go", "rustup", "sudo"];

const BUILD: &str = "sudo cargo xtask pipeline --stage build --registry registry.example";
const LOCAL: &str = "sudo cargo xtask pipeline --stage local";
const DEV: &str = "cargo xtask pipeline --stage dev";
const PROD: &str = "cargo xtask pipeline --stage prod";

/// The token that the stages dev and prod get. The stand-in expects it.
const TOKEN: &str = "token-of-a-user";

/// A repository with the workflow, and the stand-ins.
struct Repository {
    folder: TempDir,
}

/// How a run of the workflow ended.
struct Run {
    succeeded: bool,
    log: String,
    /// The calls of the stand-ins.
    calls: Vec<String>,
}

impl Repository {
    fn new(branch: &str) -> Self {
        let repository = Self {
            folder: tempfile::tempdir().expect("a folder"),
        };
        for folder in ["bin", "artifacts", "exit-codes", "gopath/bin", "home", "source"] {
            fs::create_dir_all(repository.path(folder)).expect("a folder");
        }
        let program = stand_ins().join("program.sh");
        for name in PROGRAMS {
            fs::copy(&program, repository.path("bin").join(name)).expect("a copy");
        }
        fs::copy(&program, repository.path("gopath/bin/go1.26.8")).expect("a copy");
        for file in [workflow(), PathBuf::from(".github/actions/tools/action.yml")] {
            let copy = repository.path("source").join(&file);
            fs::create_dir_all(copy.parent().expect("a folder")).expect("a folder");
            fs::copy(paths::workspace().join(file), copy).expect("a copy");
        }
        fs::write(repository.path("source/.gitignore"), "/target\n").expect("writable");
        for arguments in [
            &["init", "--quiet", "--initial-branch", branch][..],
            &[
                "remote",
                "add",
                "origin",
                "https://github.com/example/sample-app.git",
            ],
            &["config", "user.name", "a"],
            &["config", "user.email", "a@example.com"],
            &["add", "--all"],
            &["commit", "--quiet", "--message=a"],
        ] {
            let mut git = Command::new("git");
            let output = git
                .arg("-C")
                .arg(repository.path("source"))
                .args(arguments)
                .output()
                .expect("git runs");
            assert!(output.status.success(), "{}", text(&output));
        }
        repository
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// Lets `cargo xtask pipeline` exit with this code in a stage.
    fn exits(self, stage: &str, code: u8) -> Self {
        fs::write(self.path("exit-codes").join(stage), code.to_string()).expect("writable");
        self
    }

    /// Runs the workflow for an event.
    fn run(&self, event: &[&str]) -> Run {
        let output = self.act(event);
        let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
        Run {
            succeeded: output.status.success(),
            log: text(&output),
            calls: calls.lines().map(|line| line.trim().to_owned()).collect(),
        }
    }

    fn act(&self, event: &[&str]) -> Output {
        let mut act = Command::new(ACT.path());
        act.current_dir(self.path("source"))
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", self.path("bin").display()))
            .env("HOME", self.path("home"))
            .args(event)
            .args(["--no-cache-server", "--platform", "ubuntu-24.04=-self-hosted"])
            .arg("--env")
            .arg(format!("STAND_IN={}", self.folder.path().display()));
        for variable in [
            "AWS_ROLE=the-role",
            "AWS_REGION=the-region",
            "REGISTRY=registry.example",
        ] {
            act.args(["--var", variable]);
        }
        act.arg("--secret").arg(format!("LOADTEST_TOKEN={TOKEN}"));
        for action in actions() {
            let (name, _) = action.split_once('@').expect("a commit");
            let (_, name) = name.split_once('/').expect("an owner");
            // act does not call checkout for the repository that it runs in.
            if name != "checkout" {
                let stand_in = stand_ins().join(name);
                act.arg("--local-repository")
                    .arg(format!("{action}={}", stand_in.display()));
            }
        }
        command::output(&mut act, DEADLINE).expect("act runs")
    }

    /// The stages whose report or release is an artifact.
    fn artifacts(&self, kind: &str) -> Vec<&'static str> {
        let mut stages = vec!["build", "local", "dev", "prod"];
        stages.retain(|stage| self.path("artifacts").join(format!("{kind}-{stage}")).exists());
        stages
    }
}

impl Run {
    /// The calls of `cargo xtask pipeline`.
    fn stages(&self) -> Vec<&str> {
        let calls = self.calls.iter().map(String::as_str);
        calls.filter(|call| call.contains("cargo")).collect()
    }
}

fn workflow() -> PathBuf {
    PathBuf::from(".github/workflows/delivery.yml")
}

fn stand_ins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/actions/stand-ins")
}

/// The actions of other projects that the workflow uses, each with its commit.
fn actions() -> BTreeSet<String> {
    let workflow = fs::read_to_string(paths::workspace().join(workflow())).expect("readable");
    let uses = workflow
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- uses: "));
    let others = uses.filter(|action| !action.starts_with("./"));
    others
        .map(|action| action.split_whitespace().next().expect("an action").to_owned())
        .collect()
}

#[test]
fn main_runs_every_stage_in_order_and_keeps_releases_and_reports() {
    let repository = Repository::new("main");
    let run = repository.run(&["push"]);
    assert!(run.succeeded, "{}", run.log);
    assert_eq!(run.stages(), [BUILD, LOCAL, DEV, PROD], "{}", run.log);
    for kind in ["report", "release"] {
        assert_eq!(repository.artifacts(kind), ["build", "local", "dev", "prod"]);
    }
    // The stand-in for cargo prints it.
    assert!(
        run.log.contains("token: ***") && !run.log.contains(TOKEN),
        "{}",
        run.log
    );
    let release = fs::read_to_string(repository.path("artifacts/release-prod/release.json")).unwrap();
    assert_eq!(release, "build\nlocal\ndev\nprod\n");
}

#[test]
fn each_job_logs_in_before_its_command() {
    let run = Repository::new("main").run(&["push"]);
    let position = |wanted: &str| {
        let found = run.calls.iter().position(|call| call == wanted);
        found.unwrap_or_else(|| panic!("{wanted}: {:?}", run.calls))
    };
    assert!(position("docker login --username AWS --password-stdin registry.example") < position(BUILD));
    for (stage, command) in [("dev", DEV), ("prod", PROD)] {
        let login = format!("aws eks update-kubeconfig --name sample-app-{stage} --alias sample-app-{stage}");
        assert_eq!(position(&login) + 1, position(command), "{:?}", run.calls);
    }
    let roles = run
        .calls
        .iter()
        .filter(|call| call.starts_with("assume the-role in the-region"));
    assert_eq!(roles.count(), 4, "{:?}", run.calls);
}

#[test]
fn another_branch_ends_after_local() {
    let run = Repository::new("feature").run(&["push"]);
    assert!(run.succeeded, "{}", run.log);
    assert_eq!(run.stages(), [BUILD, LOCAL], "{}", run.log);
    let chosen = Repository::new("feature").run(&["workflow_dispatch", "--input", "last-stage=prod"]);
    assert_eq!(chosen.stages(), [BUILD, LOCAL], "{}", chosen.log);
}

#[test]
fn the_input_names_the_last_stage() {
    let all = [BUILD, LOCAL, DEV, PROD];
    for (index, stage) in ["build", "local", "dev", "prod"].into_iter().enumerate() {
        let input = format!("last-stage={stage}");
        let run = Repository::new("main").run(&["workflow_dispatch", "--input", &input]);
        assert!(run.succeeded, "{}", run.log);
        assert_eq!(run.stages(), all[..=index], "{}", run.log);
    }
}

/// Also one whose release was rolled back: exit code 4.
#[test]
fn a_stage_that_fails_ends_the_run_and_keeps_its_report() {
    let all = [BUILD, LOCAL, DEV, PROD];
    let names = ["build", "local", "dev", "prod"];
    for (index, stage) in names.into_iter().enumerate() {
        let repository = Repository::new("main").exits(stage, 4);
        let run = repository.run(&["push"]);
        assert!(!run.succeeded, "{}", run.log);
        assert_eq!(run.stages(), all[..=index], "{}", run.log);
        assert_eq!(repository.artifacts("report"), names[..=index]);
        assert_eq!(repository.artifacts("release"), names[..index]);
        let report = repository.path(&format!("artifacts/report-{stage}/report.json"));
        assert_eq!(fs::read_to_string(report).unwrap(), "4\n");
    }
}
