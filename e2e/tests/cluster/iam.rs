//! The permissions on AWS, linted by parliament, which has a list of every action, resource and condition of AWS.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use e2e::{succeed, text};
use serde_json::Value;
use testbed::components::{self, EKSCTL_CHECK};
use testbed::paths;

/// The linter, in the index of Python packages.
const LINTER: &str = "parliament==1.6.4";

/// The findings that are no faults: account, finding, and its subjects.
const EXPECTED: &[(&str, &str, &[&str])] = &[
    // These actions have several kinds of resources, and the policy has a statement for some of them.
    (
        "karpenter",
        "RESOURCE_MISMATCH",
        &["ec2:CreateFleet", "ec2:RunInstances"],
    ),
    // The parameters of AWS belong to no account. The linter expects one.
    ("karpenter", "RESOURCE_MISMATCH", &["ssm:GetParameter"]),
    // The statement is for the VPC. Another one is for the group.
    (
        "aws-load-balancer-controller",
        "RESOURCE_MISMATCH",
        &["ec2:CreateSecurityGroup"],
    ),
    // They are also for Network Load Balancers, which nothing here creates.
    (
        "aws-load-balancer-controller",
        "RESOURCE_MISMATCH",
        &[
            "elasticloadbalancing:AddListenerCertificates",
            "elasticloadbalancing:CreateRule",
            "elasticloadbalancing:DeleteListener",
            "elasticloadbalancing:DeleteRule",
            "elasticloadbalancing:ModifyListener",
            "elasticloadbalancing:ModifyListenerAttributes",
            "elasticloadbalancing:ModifyRule",
            "elasticloadbalancing:RemoveListenerCertificates",
            "elasticloadbalancing:SetRulePriorities",
        ],
    ),
    // The linter does not know it, but the policy of the controller's project uses it too.
    (
        "aws-load-balancer-controller",
        "UNKNOWN_CONDITION_FOR_ACTION",
        &["Unknown condition elasticloadbalancing:CreateAction for action elasticloadbalancing:AddTags"],
    ),
];

/// Installs the linter, unless it is installed. Returns its path.
fn linter() -> Result<PathBuf> {
    let folder = paths::target().join(LINTER.replace("==", "-"));
    let bin = folder.join("bin");
    let program = bin.join("parliament");
    if !program.exists() {
        succeed(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        succeed(Command::new(bin.join("pip")).args(["install", "--quiet", LINTER]))?;
    }
    Ok(program)
}

/// Runs a program that reads a file from its standard input.
fn read(program: &mut Command, file: &Path) -> Result<Output> {
    program
        .stdin(File::open(file)?)
        .output()
        .with_context(|| format!("{program:?}"))
}

/// The cluster of an environment, as eksctl reads it.
fn cluster(environment: &str) -> Result<Value> {
    components::build(&[EKSCTL_CHECK])?;
    let folder = paths::workspace()
        .join("kubernetes/clusters/eks")
        .join(environment);
    let mut render = Command::new(components::kubectl()?);
    let config = succeed(render.arg("kustomize").arg(folder))?;
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), config)?;
    let answer = read(&mut Command::new(EKSCTL_CHECK.path()), file.path())?;
    ensure!(answer.status.success(), "{}", text(&answer));
    Ok(serde_json::from_slice(&answer.stdout)?)
}

/// The findings about a policy, each with its subject: an action, or a sentence.
fn lint(policy: &Value) -> Result<BTreeSet<(String, String)>> {
    let file = tempfile::NamedTempFile::new()?;
    // The linter cannot resolve the variable. AWS replaces it by the name of the cluster.
    let policy = policy
        .to_string()
        .replace("${aws:PrincipalTag/eks-cluster-name}", "cluster");
    std::fs::write(file.path(), policy)?;
    // The status is 1 when there are findings.
    let answer = read(Command::new(linter()?).arg("--json"), file.path())?;
    ensure!(answer.stderr.is_empty(), "{}", text(&answer));
    let mut findings = BTreeSet::new();
    for line in String::from_utf8(answer.stdout)?.lines() {
        let finding: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let issue = finding["issue"].as_str().context("no issue")?;
        match finding["detail"].as_array() {
            Some(details) => findings.extend(details.iter().map(|detail| {
                let action = detail["action"].as_str().unwrap_or(line);
                (issue.to_owned(), action.to_owned())
            })),
            None => {
                findings.insert((
                    issue.to_owned(),
                    finding["detail"].as_str().unwrap_or(line).to_owned(),
                ));
            }
        }
    }
    Ok(findings)
}

#[test]
fn aws_knows_each_action_resource_and_condition_of_the_permissions() {
    let check = || -> Result<()> {
        let mut found = BTreeSet::new();
        let cluster = cluster("prod")?;
        let associations = cluster["iam"]["podIdentityAssociations"].as_array();
        for association in associations.context("no associations")? {
            let account = association["serviceAccountName"].as_str().context("no account")?;
            let Some(policy) = association.get("permissionPolicy") else {
                continue;
            };
            let findings = lint(policy)?.into_iter();
            found.extend(findings.map(|(issue, subject)| (account.to_owned(), issue, subject)));
        }
        let expected: BTreeSet<_> = EXPECTED
            .iter()
            .flat_map(|(account, issue, subjects)| {
                let finding =
                    move |subject: &&str| ((*account).to_owned(), (*issue).to_owned(), (*subject).to_owned());
                subjects.iter().map(finding)
            })
            .collect();
        ensure!(found == expected, "expected {expected:#?}, found {found:#?}");
        // The linter finds what is wrong.
        let wrong = serde_json::json!({
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": "ec2:RunInstance", "Resource": "*"}],
        });
        let findings = lint(&wrong)?;
        ensure!(
            findings.iter().any(|(issue, _)| issue == "UNKNOWN_ACTION"),
            "{findings:?}"
        );
        Ok(())
    };
    check().unwrap();
}
