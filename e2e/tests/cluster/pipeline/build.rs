//! Builds, their releases, and the pipelines that deliver them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use e2e::{COMMAND_DEADLINE, eventually, kubectl, succeed, xtask};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;
use testbed::{command, components, paths, registry};

/// The flags of `cargo xtask pipeline`, and those of `loadtest verify`.
pub(super) struct Flags<'a> {
    pub(super) pipeline: &'a [&'a str],
    pub(super) verify: &'a [&'a str],
}

pub(super) const WITHOUT_CANARY: Flags<'_> = Flags {
    pipeline: &["--no-canary"],
    verify: &[],
};

/// The holder of the lease.
const HOLDER: &str = "jsonpath={.spec.holderIdentity}";

/// The images of a build, and a release of them. The manifests are a copy, so that no test depends on the state of the checkout.
pub(crate) struct Build {
    folder: TempDir,
    pub(crate) release: Value,
}

impl Build {
    /// Starts the cluster and its registry, and pushes the images, as the stage build does.
    pub(crate) fn start() -> Result<Self> {
        succeed(&mut xtask(&["cluster", "up"]))?;
        succeed(&mut xtask(&["cluster", "registry"]))?;
        succeed(&mut xtask(&["images", "--quick", "--push", &registry::name()]))?;
        let record = fs::read(paths::target().join("images-quick/pushed.json"))?;
        let record: Value = serde_json::from_slice(&record)?;
        let images = record["images"].as_array().context("no images")?;
        let images = images.iter().map(|image| {
            let name = image["name"].as_str().context("no name")?;
            Ok((name.to_owned(), image["reference"].clone()))
        });
        let release = json!({
            "version": "0.1.0+first",
            "revision": "1111111111111111111111111111111111111111",
            "registry": registry::name(),
            "images": images.collect::<Result<serde_json::Map<_, _>>>()?,
            "passed": [{ "stage": "build", "time": "2026-01-01T00:00:00Z" }],
        });
        let folder = tempfile::tempdir()?;
        let manifests = paths::workspace().join("kubernetes");
        let mut copy = Command::new("cp");
        copy.arg("-r")
            .args(["base", "components", "overlays", "clusters"].map(|part| manifests.join(part)));
        succeed(copy.arg(folder.path()))?;
        Ok(Self { folder, release })
    }

    /// A release with another image of `app_a`: the one of this build with these flags of `crane mutate`.
    pub(super) fn variant(&self, version: &str, flags: &[&str]) -> Result<Value> {
        let mut variant = self.release.clone();
        variant["images"]["app-a"] = self.mutated("app-a", flags)?;
        variant["version"] = version.into();
        Ok(variant)
    }

    /// Pushes a changed image of an application. `flags` are those of `crane mutate`. Returns its reference.
    pub(super) fn mutated(&self, name: &str, flags: &[&str]) -> Result<Value> {
        let first = self.release["images"][name].as_str();
        let first = first.with_context(|| format!("no {name}"))?;
        let mut crane = Command::new(components::CRANE.path());
        let repository = format!("{}/{name}", registry::name());
        // By its digest alone.
        crane.args(["mutate", first, "--repo", &repository]).args(flags);
        Ok(succeed(&mut crane)?.trim().into())
    }

    /// The folder of the release files and of the manifests.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn file(&self, release: &Value) -> Result<PathBuf> {
        let text = |field: &str| release[field].as_str().with_context(|| field.to_owned());
        let name = format!("{}-{}.json", text("version")?, text("registry")?);
        let file = self.folder().join(name);
        if !file.exists() {
            fs::write(&file, release.to_string())?;
        }
        Ok(file)
    }

    /// The pipeline for the stage local of a release, without a canary: the tests of the other steps need none.
    pub(super) fn pipeline(&self, release: &Value) -> Result<Running> {
        self.pipeline_with(release, &WITHOUT_CANARY)
    }

    /// As [`Self::pipeline`], with more flags.
    pub(super) fn pipeline_with(&self, release: &Value, flags: &Flags<'_>) -> Result<Running> {
        let log = tempfile::NamedTempFile::new_in(self.folder())?;
        let mut command = xtask(&["pipeline", "--stage", "local", "--quick", "--release"]);
        command
            .arg(self.file(release)?)
            .arg("--overlay")
            .arg(self.folder().join("overlays/local"));
        command.args(flags.pipeline).arg("--").args(flags.verify);
        command.env_remove("LOADTEST_TOKEN");
        let output = File::create(log.path())?;
        let process = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        Ok(Running { process, log })
    }

    /// As [`Self::pipeline`], and waits until it has the lease.
    pub(super) fn pipeline_with_lease(&self, release: &Value) -> Result<Running> {
        let running = self.pipeline(release)?;
        eventually("it has the lease", || {
            let holder = holder()?;
            ensure!(
                holder.contains(&format!("pid {} ", running.process.id())),
                "{holder:?}"
            );
            Ok(())
        })?;
        Ok(running)
    }

    /// Runs the pipeline, which must end with this exit code. Returns what it printed.
    pub(super) fn run(&self, release: &Value, code: i32) -> Result<String> {
        ended(self.pipeline(release)?, code)
    }
}

/// Reads who has the lease.
pub(super) fn holder() -> Result<String> {
    kubectl(&[
        "get",
        "lease",
        "sample-app-pipeline",
        "--ignore-not-found",
        "-o",
        HOLDER,
    ])
}

/// Waits for a pipeline, which must end with this exit code. Returns what it printed.
pub(super) fn ended(pipeline: Running, code: i32) -> Result<String> {
    let (ended, printed) = pipeline.wait()?;
    ensure!(
        ended == Some(code),
        "exit code {ended:?} instead of {code}: {printed}"
    );
    Ok(printed)
}

/// A running pipeline.
pub(super) struct Running {
    pub(super) process: Child,
    log: tempfile::NamedTempFile,
}

impl Running {
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(i32::try_from(self.process.id())?), signal)?)
    }

    /// Waits until it exits. Returns its exit code and what it printed.
    pub(super) fn wait(self) -> Result<(Option<i32>, String)> {
        let output = command::wait(self.process, "cargo xtask pipeline", COMMAND_DEADLINE)?;
        Ok((output.status.code(), fs::read_to_string(self.log.path())?))
    }
}
