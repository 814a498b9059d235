//! `loadtest verify` on the deployed pair: it passes, and on deployments that are broken in just one way it names what is broken.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use e2e::{
    OVERLAY, apply_overlay, deploy, eventually, kubectl, loadtest, output, text, wait_for_chain,
    with_diagnostics,
};
use serde_json::Value;
use testbed::{components, paths};

/// The outcome of a stage: its exit code, its JSON report, and what it printed.
struct Verified {
    code: Option<i32>,
    report: Value,
    printed: String,
}

/// Verifies a stage on the testbed, with the token of the demonstration user. No certificate is verified, because each pod makes its own.
fn verify(stage: &str, flags: &[&str]) -> Result<Verified> {
    let folder = tempfile::tempdir()?;
    let json = folder.path().join("verify.json");
    let mut command = loadtest(&[
        "verify",
        "--stage",
        stage,
        "--insecure",
        "--https",
        "https://127.0.0.1:30443",
    ]);
    command
        .arg("--kubectl")
        .arg(components::KUBECTL.path())
        .arg("--json")
        .arg(&json)
        .args(flags)
        .env("LOADTEST_TOKEN", "mytoken");
    let output = output(&mut command)?;
    let printed = text(&output);
    let report = fs::read(&json).with_context(|| printed.clone())?;
    ensure!(
        !String::from_utf8_lossy(&report).contains("mytoken"),
        "the token is in the report: {printed}"
    );
    Ok(Verified {
        code: output.status.code(),
        report: serde_json::from_slice(&report)?,
        printed,
    })
}

impl Verified {
    fn of_status(&self, status: &str) -> Vec<&Value> {
        let tests = self.report["tests"].as_array().into_iter().flatten();
        tests.filter(|test| test["status"] == status).collect()
    }

    fn expect_passed(&self, names: &[&str]) -> Result<()> {
        let passed: Vec<_> = self
            .of_status("passed")
            .iter()
            .map(|test| test["name"].clone())
            .collect();
        ensure!(
            self.code == Some(0) && passed == names,
            "exit code {:?}: {}",
            self.code,
            self.printed
        );
        Ok(())
    }

    /// Expects that exactly this test failed, and that its reason and what it saw contain these texts.
    fn expect_failed_only(&self, name: &str, reason: &str, seen: &str) -> Result<()> {
        let failed = self.of_status("failed");
        let holds = matches!(&failed[..], [test] if test["name"] == name
            && test["reason"].as_str().is_some_and(|text| text.contains(reason))
            && test["seen"].as_str().is_some_and(|text| text.contains(seen)));
        ensure!(
            holds && self.code == Some(1),
            "expected only {name} to fail with {reason:?}, {seen:?}; exit code {:?}: {}",
            self.code,
            self.printed
        );
        Ok(())
    }
}

/// Deploys the pair, breaks it, runs `check`, and deploys it again, also after a failure.
fn on_broken(breaking: &[&str], check: impl FnOnce() -> Result<()>) -> Result<()> {
    deploy()?;
    kubectl(&[&["-n", "sample-app"][..], breaking].concat())?;
    let checked = check();
    // The patches of `breaking` are on fields that the overlay sets.
    let restored = apply_overlay();
    checked.and(restored)
}

/// Only the tests of requests: `apply` would repair the deployment.
const REQUESTS: [&str; 4] = ["--only", "hello-http", "--only", "jobs-https"];

#[test]
fn the_local_stage_passes_on_the_local_overlay() {
    with_diagnostics(|| {
        deploy()?;
        verify("local", &[])?.expect_passed(&["apply", "hello-http", "jobs-https"])
    });
}

/// Expects that exactly this test of the local stage fails. kube-proxy follows a moment after a change of a Service.
fn eventually_fails(name: &str, reason: &str, seen: &str) -> Result<()> {
    let flags = [
        &REQUESTS[..],
        &["--deadline", "hello-http=3s", "--deadline", "jobs-https=3s"],
    ]
    .concat();
    eventually("the test that the change breaks fails", || {
        verify("local", &flags)?.expect_failed_only(name, reason, seen)
    })
}

#[test]
fn a_service_that_selects_another_application_for_http_is_named_and_https_still_passes() {
    // The port `admin` of app_a is another application: it does not know /hello.
    let to_admin = r#"[{"op": "replace", "path": "/spec/ports/0/targetPort", "value": "admin"}]"#;
    with_diagnostics(|| {
        on_broken(
            &["patch", "service", "app-a", "--type=json", "--patch", to_admin],
            || eventually_fails("hello-http", "the status is not 200", "404"),
        )
    });
}

#[test]
fn a_closed_https_port_is_named_and_http_still_passes() {
    let without_https = r#"[{"op": "remove", "path": "/spec/ports/1"}]"#;
    with_diagnostics(|| {
        on_broken(
            &[
                "patch",
                "service",
                "app-a",
                "--type=json",
                "--patch",
                without_https,
            ],
            || eventually_fails("jobs-https", "there is no response", ""),
        )
    });
}

/// Writes an overlay on top of the local one whose image of `app_a` exists nowhere.
fn overlay_with_a_missing_image(folder: &Path) -> Result<()> {
    let local = paths::workspace().join(OVERLAY);
    // kustomize accepts only relative paths to folders.
    let up = "../".repeat(folder.components().count().saturating_sub(1));
    let text = format!(
        "resources: [{up}{}]\nimages: [{{name: app-a, newTag: does-not-exist}}]\n",
        local.strip_prefix("/")?.display()
    );
    Ok(fs::write(folder.join("kustomization.yaml"), text)?)
}

#[test]
fn an_overlay_that_cannot_be_applied_or_does_not_become_available_is_named_and_the_pair_still_serves() {
    with_diagnostics(|| {
        deploy()?;
        let verified = verify("local", &["--overlay", "kubernetes/overlays/none"])?;
        verified.expect_failed_only("apply", "exits with 1", "kubernetes/overlays/none")?;
        let folder = tempfile::tempdir()?;
        overlay_with_a_missing_image(folder.path())?;
        let overlay = folder.path().display().to_string();
        let verified = verify("local", &["--overlay", &overlay, "--deadline", "apply=25s"]);
        let restored = apply_overlay();
        verified?.expect_failed_only("apply", "are not available", "sample-app/app-a: ")?;
        restored
    });
}

#[test]
fn the_prod_stage_passes_but_for_the_single_zone_of_the_testbed() {
    with_diagnostics(|| {
        deploy()?;
        wait_for_chain()?;
        let load = ["--load-url", "http://127.0.0.1:30080/hello", "--window", "20s"];
        let flags = [&load[..], &["--overlay", OVERLAY, "--deadline", "spread=5s"]].concat();
        let verified = verify("prod", &flags)?;
        verified.expect_failed_only("spread", "1 zones of ", "app-a: ")?;
        let one_zone = [&["--only", "spread", "--min-zones", "1"][..], &flags].concat();
        verify("prod", &one_zone)?.expect_passed(&["spread"])
    });
}

#[test]
fn a_deployment_that_still_scales_is_not_settled() {
    with_diagnostics(|| {
        let four = [
            "patch",
            "hpa",
            "app-a",
            "--patch",
            r#"{"spec": {"minReplicas": 4}}"#,
        ];
        on_broken(&four, || {
            // One comparison, after 40 s. The HPA acts within 15 s.
            let flags = [
                "--only",
                "settled",
                "--load-url",
                "http://127.0.0.1:30080/hello",
                "--window",
                "20s",
            ];
            let verified = verify("prod", &[&flags[..], &["--deadline", "settled=46s"]].concat())?;
            verified.expect_failed_only(
                "settled",
                "the last two windows of 20 s",
                "replicas of app-a: changed",
            )
        })
    });
}
