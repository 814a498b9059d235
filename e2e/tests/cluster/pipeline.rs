//! `cargo xtask pipeline` on the testbed: a release is kept or rolled back, one pipeline deploys at a time, and a stopped one runs again.

mod build;
mod canary;

use std::fs;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
pub(crate) use build::Build;
use build::{Flags, WITHOUT_CANARY, ended, holder};
use e2e::{COMMAND_DEADLINE, deploy, eventually, kubectl, loadtest, text, with_diagnostics};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use testbed::{command, paths, registry};

/// The annotation of the verified release.
const ANNOTATION: &str = r"jsonpath={.metadata.annotations.sample-app/verified-release}";

fn image_of(release: &Value, name: &str) -> String {
    release["images"][name].as_str().unwrap_or_default().to_owned()
}

/// Reads a part of a Deployment of the pair.
fn deployment(name: &str, part: &str) -> Result<String> {
    kubectl(&["-n", "sample-app", "get", "deployment", name, "-o", part])
}

/// Expects that the pair runs the images of a release, which is recorded as verified in the stage local, and that the lease is free.
fn expect_released(release: &Value) -> Result<()> {
    expect_released_in("local", release)
}

/// As [`expect_released`], in this stage.
pub(crate) fn expect_released_in(stage: &str, release: &Value) -> Result<()> {
    for name in ["app-a", "app-b"] {
        let record: Value = serde_json::from_str(&deployment(name, ANNOTATION)?)?;
        ensure!(
            record["images"] == release["images"]
                && record["version"] == release["version"]
                && record["stage"] == stage,
            "{record}, not {release}"
        );
        let path = "jsonpath={.items[*].spec.containers[0].image}";
        let label = format!("app.kubernetes.io/name={name}");
        let running = eventually("only pods of the release are left", || {
            let images = kubectl(&["-n", "sample-app", "get", "pods", "-l", &label, "-o", path])?;
            ensure!(
                images.split(' ').all(|image| image == image_of(release, name)),
                "{images}"
            );
            Ok(images)
        })?;
        ensure!(!running.is_empty(), "no pod of {name}");
    }
    let manifests = kubectl(&[
        "-n",
        "sample-app",
        "get",
        "secrets",
        "-l",
        "sample-app/manifests-of-release",
        "-o",
        "name",
    ])?;
    ensure!(
        manifests.lines().count() == 1,
        "manifests of older releases: {manifests}"
    );
    ensure!(holder()?.is_empty(), "the lease is still held");
    Ok(())
}

/// Expects an event with this reason about each Deployment of the pair, whose note contains these texts.
fn expect_events(reason: &str, parts: &[&str]) -> Result<()> {
    let events = kubectl(&["-n", "sample-app", "get", "events.events.k8s.io", "-o", "json"])?;
    let events: Value = serde_json::from_str(&events)?;
    for name in ["app-a", "app-b"] {
        let notes: Vec<_> = events["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|event| event["reason"] == reason && event["regarding"]["name"] == name)
            .filter_map(|event| event["note"].as_str())
            .collect();
        ensure!(
            notes
                .iter()
                .any(|note| parts.iter().all(|part| note.contains(part))),
            "no event {reason} about {name} with {parts:?}: {notes:?}"
        );
    }
    Ok(())
}

#[test]
fn a_release_is_verified_and_recorded_and_of_two_pipelines_one_is_refused() {
    with_diagnostics(|| {
        let build = Build::start()?;
        // New images, so that each pipeline has something to deploy.
        let releases = ["0.1.0+one", "0.1.0+two"]
            .map(|version| build.variant(version, &["--label", &format!("version={version}")]));
        let [one, two] = releases;
        let (one, two) = (one?, two?);
        let running = [(build.pipeline(&one)?, &one), (build.pipeline(&two)?, &two)];
        let mut ended = Vec::new();
        for (running, release) in running {
            let id = running.process.id();
            let (code, printed) = running.wait()?;
            ended.push((code, id, printed, release));
        }
        ended.sort_by_key(|(code, ..)| *code);
        let [(passed, holder, output, release), (refused, _, message, _)] = &ended[..] else {
            anyhow::bail!("not two pipelines");
        };
        ensure!(
            (passed, refused) == (&Some(0), &Some(3)) && message.contains(&format!("pid {holder} ")),
            "exit codes {passed:?}, {refused:?}: {output}\n{message}"
        );
        expect_released(release)?;
        let version = release["version"].as_str().unwrap_or_default();
        expect_events("Released", &[version, "local"])?;
        let written: Value = serde_json::from_slice(&fs::read(build.file(release)?)?)?;
        ensure!(
            written["images"] == release["images"] && written["passed"][1]["stage"] == "local",
            "{written}"
        );
        for file in ["verify.json", "verify.html", "verify.xml"] {
            let report = paths::target().join("pipeline/local").join(file);
            ensure!(report.exists(), "{}", report.display());
        }
        Ok(())
    });
}

#[test]
fn a_pipeline_that_was_stopped_robbed_or_killed_runs_again() {
    with_diagnostics(|| {
        let build = Build::start()?;
        let next = build.variant("0.1.0+next", &["--label", "version=next"])?;
        build.run(&build.release, 0)?;
        let before = deployment("app-a", ANNOTATION)?;

        let stopped = build.pipeline_with_lease(&next)?;
        stopped.signal(Signal::SIGTERM)?;
        let (code, printed) = stopped.wait()?;
        ensure!(
            code == Some(143) && printed.contains("the last verified release is 0.1.0+first"),
            "exit code {code:?}: {printed}"
        );
        ensure!(holder()?.is_empty(), "the lease is still held");

        let robbed =
            build.pipeline_with_lease(&build.variant("0.1.0+robbed", &["--label", "version=robbed"])?)?;
        let thief = r#"{"spec": {"holderIdentity": "thief"}}"#;
        kubectl(&["patch", "lease", "sample-app-pipeline", "--patch", thief])?;
        let (code, printed) = robbed.wait()?;
        ensure!(
            code == Some(1) && printed.contains("the lease is lost: it is held by thief"),
            "exit code {code:?}: {printed}"
        );
        ensure!(
            holder()? == "thief",
            "the lease of another pipeline was given back"
        );
        kubectl(&["delete", "lease", "sample-app-pipeline"])?;

        let killed = build.pipeline(&next)?;
        eventually("it deploys", || {
            let image = deployment("app-a", "jsonpath={.spec.template.spec.containers[0].image}")?;
            ensure!(image == image_of(&next, "app-a"), "{image}");
            Ok(())
        })?;
        killed.signal(Signal::SIGKILL)?;
        killed.wait()?;
        ensure!(
            deployment("app-a", ANNOTATION)? == before,
            "an unverified release is recorded"
        );

        // From a registry that the nodes do not reach: its images are copied.
        let elsewhere = next.to_string().replace(&registry::name(), "localhost:5005");
        build.run(&serde_json::from_str(&elsewhere)?, 0)?;
        expect_released(&next)
    });
}

#[test]
fn a_release_that_fails_is_rolled_back_without_a_lost_request() {
    with_diagnostics(|| {
        let build = Build::start()?;
        build.run(&build.release, 0)?;
        // Every call to app_b is too slow, so only /jobs fails.
        let slow = ["--env", "APP_B_TIMEOUT=1us", "--env", "APP_B_CONNECT_TIMEOUT=1us"];
        let broken = build.variant("0.1.0+broken", &slow)?;
        // The test counts requests. A generator that sends late on a busy machine loses none.
        let load = [
            "run",
            "http://127.0.0.1:30080/hello",
            "-q",
            "50",
            "-z",
            "30m",
            "--max-lag",
            "5s",
            "--json",
        ];
        let mut load = loadtest(&load)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        // Its test fails in any case, and need not wait as long as a person would.
        let flags = Flags {
            verify: &["--deadline", "jobs-https=5s"],
            ..WITHOUT_CANARY
        };
        let pipeline = build.pipeline_with(&broken, &flags);
        let printed = pipeline.and_then(|pipeline| ended(pipeline, 4));
        ensure!(
            load.try_wait()?.is_none(),
            "the load ended before the rollback: {printed:?}"
        );
        kill(Pid::from_raw(i32::try_from(load.id())?), Signal::SIGINT)?;
        let load = command::wait(load, "loadtest run", COMMAND_DEADLINE)?;
        let printed = printed?;
        for part in [
            "jobs-https: ",
            "rolled back to 0.1.0+first",
            &image_of(&build.release, "app-a"),
        ] {
            ensure!(printed.contains(part), "{part:?} is missing in: {printed}");
        }
        expect_released(&build.release)?;
        expect_events("RolledBack", &["0.1.0+first", "0.1.0+broken", "jobs-https"])?;
        let written: Value = serde_json::from_slice(&fs::read(build.file(&broken)?)?)?;
        ensure!(
            written["passed"]
                .as_array()
                .is_some_and(|passed| passed.len() == 1),
            "{written}"
        );
        let report: Value = serde_json::from_slice(&load.stdout).with_context(|| text(&load))?;
        let requests = &report["requests"];
        println!("under load: {requests}");
        // Longer than the rollback alone: from before the deployment to after it.
        let sent = requests["succeeded"].as_u64().unwrap_or_default();
        ensure!(
            requests["failed"] == 0 && sent > 500,
            "{requests}: {}",
            report["failures"]
        );
        // The same images under their local names, which no registry has.
        deploy()
    });
}
