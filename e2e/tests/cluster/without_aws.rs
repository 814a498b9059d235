//! The stages dev and prod for real: the overlays for EKS, on the testbed with nodes that Karpenter adds in three zones.
//!
//! The name lets nextest run it last: it leaves another cluster than the one that the other tests use.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::{kubectl, succeed, text, with_diagnostics, xtask};
use serde_json::{Value, json};
use testbed::{command, components, paths};

use crate::nodes::items;
use crate::pipeline::{Build, expect_released_in};

/// The deadline of a stage. Dev waits until the pods and the nodes of its load are gone, a quarter of an hour and more.
const STAGE: Duration = Duration::from_mins(40);

/// The token of the only user. It is worth nothing anywhere else.
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A key of cosign without a password. Returns the paths of the private and of the public key.
fn key(folder: &Path, name: &str) -> Result<[String; 2]> {
    let prefix = folder.join(name).display().to_string();
    succeed(&mut cosign(&[
        "generate-key-pair",
        "--output-key-prefix",
        &prefix,
    ]))?;
    Ok(["key", "pub"].map(|kind| format!("{prefix}.{kind}")))
}

fn cosign(arguments: &[&str]) -> Command {
    let mut command = Command::new(components::COSIGN.path());
    command.args(arguments).env("COSIGN_PASSWORD", "");
    command
}

/// Signs the images of a release, as the stage build with `--sign`.
fn sign(release: &Value, key: &str) -> Result<()> {
    let offline = ["--use-signing-config=false", "--tlog-upload=false", "--yes"];
    let images = release["images"].as_object().context("no images")?;
    for reference in images.values().filter_map(Value::as_str) {
        succeed(cosign(&["sign", "--key", key]).args(offline).arg(reference))?;
    }
    Ok(())
}

/// Makes the Secrets that the overlays for EKS expect: the users of `app_b`, and the certificate of `app_a`. Returns its path.
fn secrets(folder: &Path) -> Result<String> {
    let file = |name: &str| folder.join(name).display().to_string();
    let token = file("token");
    fs::write(&token, TOKEN)?;
    let hash = succeed(Command::new("sha256sum").arg(&token))?;
    let hash = hash.split_whitespace().next().context("no hash")?;
    fs::write(file("users"), format!("ada sha256:{hash}\n"))?;
    let (certificate, private) = (file("tls.crt"), file("tls.key"));
    let mut openssl = Command::new("openssl");
    openssl
        .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=app".split(' '))
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        // Without it, the certificate would be that of an authority, which no server may use.
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", &private, "-out", &certificate]);
    succeed(&mut openssl)?;
    let create = |arguments: &[&str]| {
        let printed = kubectl(&[&["create", "--dry-run=client", "--output=yaml"], arguments].concat())?;
        e2e::apply(&printed)
    };
    create(&["namespace", "sample-app"])?;
    let users = format!("--from-file={}", file("users"));
    create(&[
        "secret",
        "generic",
        "app-b-users",
        "--namespace=sample-app",
        &users,
    ])?;
    let tls = [format!("--cert={certificate}"), format!("--key={private}")];
    create(&[
        "secret",
        "tls",
        "app-a-tls",
        "--namespace=sample-app",
        &tls[0],
        &tls[1],
    ])?;
    Ok(certificate)
}

/// Runs a stage of the release on the testbed.
fn run(build: &Build, release: &Value, stage: &str, flags: &[&str]) -> Result<Output> {
    let mut command = xtask(&["pipeline", "--testbed", "--quick", "--stage", stage]);
    command
        .arg("--release")
        .arg(build.file(release)?)
        .arg("--overlay");
    if stage == "local" {
        // Its users are the demonstration users.
        command
            .arg(build.folder().join("overlays/local"))
            .env_remove("LOADTEST_TOKEN");
    } else {
        command
            .arg(build.folder().join("clusters/testbed").join(stage))
            .env("LOADTEST_TOKEN", TOKEN);
    }
    command::output(command.args(flags), STAGE)
}

/// Runs a stage, which must pass with exactly these tests.
fn pass(build: &Build, release: &Value, stage: &str, flags: &[&str], tests: &[&str]) -> Result<()> {
    let output = run(build, release, stage, flags)?;
    ensure!(output.status.success(), "stage {stage}: {}", text(&output));
    println!("{}", text(&output));
    expect_released_in(stage, release)?;
    let report = paths::target().join("pipeline").join(stage).join("verify.json");
    let report: Value = serde_json::from_slice(&fs::read(report)?)?;
    let passed: Vec<_> = report["tests"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|test| test["status"] == "passed")
        .filter_map(|test| test["name"].as_str())
        .collect();
    ensure!(passed == tests, "stage {stage}: {passed:?}");
    Ok(())
}

/// Expects that a stage refuses the release because of its signatures, and deploys nothing.
fn expect_unsigned(build: &Build, release: &Value, stage: &str, key: &str) -> Result<()> {
    let output = run(build, release, stage, &["--verify-key", key])?;
    let printed = text(&output);
    ensure!(
        output.status.code() == Some(3)
            && printed.contains(&format!("is not signed by the key of {key}"))
            && !printed.contains("  deploy "),
        "{}: {printed}",
        output.status
    );
    Ok(())
}

/// Expects that the pods of the pair are in three zones, on nodes that Karpenter has added.
fn expect_three_zones() -> Result<()> {
    let nodes = items(&["nodes", "--selector", "karpenter.sh/nodepool=default"])?;
    for app in ["app-a", "app-b"] {
        let label = format!("app.kubernetes.io/name={app}");
        let pods = items(&["pods", "--namespace=sample-app", "--selector", &label])?;
        let zone = |pod: &Value| {
            let node = nodes
                .iter()
                .find(|node| node["metadata"]["name"] == pod["spec"]["nodeName"]);
            let node =
                node.with_context(|| format!("not on a node of Karpenter: {}", pod["spec"]["nodeName"]))?;
            Ok(node["metadata"]["labels"]["topology.kubernetes.io/zone"].to_string())
        };
        let zones: BTreeSet<_> = pods.iter().map(zone).collect::<Result<_>>()?;
        ensure!(zones.len() == 3, "{app}: {zones:?}");
    }
    Ok(())
}

/// In the normal run the release has already passed dev, which takes a quarter of an hour and more. With `--soak` it passes every stage here.
#[test]
fn a_signed_release_passes_the_stages_on_nodes_in_three_zones_and_an_unsigned_one_is_refused() {
    with_diagnostics(|| {
        // A new cluster: what other tests left would not fit on the reserved node.
        succeed(&mut xtask(&["cluster", "down"]))?;
        let build = Build::start()?;
        let is_soak = e2e::rounds() > 1;
        let mut release = build.release.clone();
        if !is_soak {
            release["passed"] = ["build", "local", "dev"]
                .map(|stage| json!({ "stage": stage, "time": "2026-01-01T00:00:00Z" }))
                .to_vec()
                .into();
        }
        let [private, public] = key(build.folder(), "signer")?;
        let [_, other] = key(build.folder(), "other")?;
        let first = if is_soak { "local" } else { "prod" };
        expect_unsigned(&build, &release, first, &public)?;
        sign(&release, &private)?;
        expect_unsigned(&build, &release, first, &other)?;

        let signed = ["--verify-key", &public];
        let certificate = secrets(build.folder())?;
        let tls = ["--", "--cacert", &certificate];
        if is_soak {
            let tests = ["apply", "hello-http", "jobs-https"];
            pass(&build, &release, "local", &signed, &tests)?;
            let scaling = ["pods-scale", "nodes-scale", "response-time"];
            // More pods than the headroom has room for, so that new nodes run some of them.
            // No canary: Karpenter, which adds the nodes for the pair, comes with this release.
            let flags = [
                &signed[..],
                &["--no-canary"],
                &tls,
                &["--replicas=8", "--zones=1"],
            ]
            .concat();
            pass(&build, &release, "dev", &flags, &[&tests[..], &scaling].concat())?;
        }
        let flags = [&signed[..], &tls].concat();
        pass(
            &build,
            &release,
            "prod",
            &flags,
            &["apply", "urls", "settled", "spread"],
        )?;
        expect_three_zones()?;

        let written: Value = serde_json::from_slice(&fs::read(build.file(&release)?)?)?;
        let passed = written["passed"].as_array().context("no stages")?;
        let stages: Vec<_> = passed
            .iter()
            .filter_map(|passed| passed["stage"].as_str())
            .collect();
        ensure!(
            stages == ["build", "local", "dev", "prod"] && written["images"] == release["images"],
            "{written}"
        );
        Ok(())
    });
}
