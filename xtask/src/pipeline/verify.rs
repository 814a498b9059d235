//! The tests of a stage: `loadtest verify`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use testbed::progress;

use super::cluster::{Cluster, Environment, program};
use super::guard::Guard;
use super::outcome::{Stop, refused};
use super::stage::Stage;

/// The variable with the token for `/jobs`.
const TOKEN: &str = "LOADTEST_TOKEN";

/// The token of the demonstration users, which `overlays/local` accepts. It is public.
const DEMO_TOKEN: &str = "mytoken";

/// The deadline of all tests. Each has one of its own; with nodes, they are about an hour and a half together.
const DEADLINE: Duration = Duration::from_hours(2);

/// The time in which `loadtest verify` checks its options. It takes milliseconds on an idle machine.
const CHECK: Duration = Duration::from_mins(1);

/// The exit code of `loadtest verify` that has tested nothing.
const NOTHING_TESTED: i32 = 104;

/// The name of the reports of the tests of the stage.
const VERIFY: &str = "verify";

/// The flags with which not every test would run.
const PARTIAL: [&str; 3] = ["--only", "--list", "--dry-run"];

/// The flags that the pipeline gives itself.
const OWN: [&str; 8] = [
    "--stage",
    "--canary",
    "--overlay",
    "--kubectl",
    "--context",
    "--json",
    "--html",
    "--junit",
];

/// How the tests of a stage are started.
pub(super) struct Tests {
    stage: Stage,
    flags: Vec<String>,
    /// The token, unless the user sets one.
    token: Option<&'static str>,
    /// The folder of the reports.
    folder: PathBuf,
}

impl Tests {
    /// Prepares the tests. `given` are the flags of the user.
    ///
    /// # Errors
    /// Refuses flags with which not every test would run or that the pipeline sets itself, and a missing token or host.
    pub(super) fn new(stage: Stage, given: &[String], overlay: &Path, folder: &Path) -> Result<Self> {
        let has = |flags: &[&str]| {
            given
                .iter()
                .any(|flag| flags.contains(&flag.split('=').next().unwrap_or(flag)))
        };
        if has(&PARTIAL) {
            return Err(refused(format!(
                "with {} not every test of the stage runs, and the release would not be verified: leave it out, or run \
                 `loadtest verify` yourself",
                PARTIAL.join(" or ")
            )));
        }
        if let Some(own) = OWN.iter().find(|flag| has(&[flag])) {
            return Err(refused(format!(
                "{own} after `--`: the pipeline sets it. Leave it out; `cargo xtask pipeline --help` has its own options"
            )));
        }
        let mut flags = given.to_vec();
        let has_token = env::var_os(TOKEN).is_some() || has(&["--token-file"]);
        if stage == Stage::Local {
            // Its pods make their own certificates.
            if !has(&["--insecure", "-k", "--cacert"]) {
                flags.push("--insecure".to_owned());
            }
        } else {
            if !has_token {
                return Err(refused(format!(
                    "the token for /jobs is missing: set {TOKEN}, or pass `-- --token-file FILE`"
                )));
            }
            if !has(&["--https"]) {
                let environment = Environment::read(overlay).map_err(|error| {
                    refused(format!(
                        "the host of the pair is unknown: pass it with `-- --https https://HOST`\n{error:#}"
                    ))
                })?;
                flags.extend(["--https".to_owned(), format!("https://{}", environment.host)]);
            }
        }
        Ok(Self {
            stage,
            flags,
            token: (stage == Stage::Local && !has_token).then_some(DEMO_TOKEN),
            folder: folder.to_owned(),
        })
    }

    /// Checks the options, before anything is deployed.
    ///
    /// # Errors
    /// Refuses what `loadtest verify` does not accept.
    pub(super) fn check(&self, cluster: &Cluster, loadtest: &Path) -> Result<()> {
        // With a canary, they have another meaning.
        for canary in [&[][..], &["--canary", "app-a=canary"]] {
            let mut command = self.command(cluster, loadtest);
            let checked = progress::run_within(CHECK, command.args(canary).arg("--dry-run"));
            checked.map_err(|error| {
                refused(format!(
                    "`loadtest verify` does not accept the options after `--`: correct them\n{error:#}"
                ))
            })?;
        }
        Ok(())
    }

    /// Runs the tests against the manifests in the folder `overlay`. Returns those that failed, with their reasons.
    ///
    /// A release that cannot be verified fails too.
    ///
    /// # Errors
    /// A [`Stop`] alone.
    pub(super) fn run(
        &self,
        guard: &Guard<'_>,
        cluster: &Cluster,
        loadtest: &Path,
        overlay: &Path,
    ) -> Result<Vec<String>> {
        let flags = ["--overlay".to_owned(), overlay.display().to_string()];
        self.run_as(guard, cluster, loadtest, VERIFY, &flags)
    }

    /// Runs `loadtest verify` with more flags, and with reports of this name. Returns the tests that failed, with their reasons.
    ///
    /// # Errors
    /// A [`Stop`] alone.
    pub(super) fn run_as(
        &self,
        guard: &Guard<'_>,
        cluster: &Cluster,
        loadtest: &Path,
        name: &str,
        flags: &[String],
    ) -> Result<Vec<String>> {
        let mut command = self.command(cluster, loadtest);
        command.args(flags);
        for (flag, kind) in [("--json", "json"), ("--html", "html"), ("--junit", "xml")] {
            let path = self.named_report(name, kind);
            let _ = fs::remove_file(&path);
            command.arg(flag).arg(path);
        }
        let status = match guard.run_shown(&mut command, DEADLINE) {
            Ok(status) => status,
            Err(error) if error.is::<Stop>() => return Err(error),
            Err(error) => return Ok(vec![format!("could not verify: {error:#}")]),
        };
        if status.success() {
            return Ok(Vec::new());
        }
        if status.code() == Some(NOTHING_TESTED) {
            return Ok(vec![format!(
                "could not verify: loadtest verify has tested nothing ({status}); its message above says why"
            )]);
        }
        let failed = fs::read(self.named_report(name, "json"))
            .context("no report")
            .and_then(|text| failed(&text));
        Ok(failed.unwrap_or_else(|_| vec![format!("could not verify: loadtest verify: {status}")]))
    }

    /// The command, without the overlay and the reports: another pipeline may write there until this one has the lease.
    fn command(&self, cluster: &Cluster, loadtest: &Path) -> Command {
        let mut command = program(loadtest);
        command.args(["verify", "--stage", self.stage.name()]);
        command.arg("--kubectl").arg(cluster.kubectl_path());
        cluster.select(&mut command);
        command.args(&self.flags);
        command.envs(self.token.map(|token| (TOKEN, token)));
        command
    }

    /// Deletes the reports of an earlier run.
    pub(super) fn delete_reports(&self) {
        for name in [VERIFY, "canary-direct", "canary-load"] {
            for kind in ["json", "html", "xml"] {
                let _ = fs::remove_file(self.named_report(name, kind));
            }
        }
    }

    /// The paths of the pages that were written.
    pub(super) fn pages(&self) -> Vec<PathBuf> {
        let pages = ["canary-direct", "canary-load", VERIFY].map(|name| self.named_report(name, "html"));
        pages.into_iter().filter(|page| page.exists()).collect()
    }

    fn named_report(&self, name: &str, kind: &str) -> PathBuf {
        self.folder.join(format!("{name}.{kind}"))
    }
}

/// The tests that failed, in a report of `loadtest verify`.
fn failed(report: &[u8]) -> Result<Vec<String>> {
    let report: Value = serde_json::from_slice(report)?;
    let tests = report["tests"].as_array().context("no tests")?;
    let failed: Vec<_> = tests
        .iter()
        .filter(|test| test["status"] == "failed")
        .map(|test| {
            let text = |field: &str| test[field].as_str().unwrap_or_default().to_owned();
            format!("{}: {}", text("name"), text("reason"))
        })
        .collect();
    anyhow::ensure!(!failed.is_empty(), "no test failed");
    Ok(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tests(stage: Stage, given: &[&str]) -> Result<Tests> {
        let given: Vec<_> = given.iter().map(ToString::to_string).collect();
        let overlay = testbed::paths::workspace()
            .join("kubernetes/overlays")
            .join(stage.name());
        Tests::new(stage, &given, &overlay, Path::new("/reports"))
    }

    #[test]
    fn the_environment_gives_the_host_and_local_accepts_its_certificates() {
        let local = tests(Stage::Local, &[]).unwrap();
        assert_eq!(local.flags, ["--insecure"]);
        assert_eq!(
            tests(Stage::Local, &["--cacert", "ca.pem"]).unwrap().flags,
            ["--cacert", "ca.pem"]
        );
        let prod = tests(Stage::Prod, &["--token-file=token"]).unwrap();
        assert_eq!(
            prod.flags,
            ["--token-file=token", "--https", "https://prod.example.com"]
        );
        assert_eq!(prod.token, None, "the token of the demonstration users is public");
        let given = ["--token-file", "token", "--https", "https://host"];
        assert_eq!(tests(Stage::Dev, &given).unwrap().flags, given);
    }

    #[test]
    fn a_part_of_the_tests_an_option_of_the_pipeline_and_a_missing_token_are_refused() {
        for (stage, given) in [
            (Stage::Local, &["--only", "apply"][..]),
            (Stage::Local, &["--only=apply"]),
            (Stage::Prod, &["--list"]),
            (Stage::Local, &["--dry-run"]),
            // The pipeline sets them.
            (Stage::Local, &["--overlay", "folder"]),
            (Stage::Local, &["--context=other"]),
            // No token, as the tests run without the variable.
            (Stage::Prod, &[]),
        ] {
            let error = tests(stage, given).err().unwrap();
            assert_eq!(super::super::outcome::exit_code(&error), 3, "{error:#}");
        }
    }

    #[test]
    fn the_failed_tests_have_their_reasons() {
        let report = br#"{"tests": [
            {"name": "apply", "status": "passed", "reason": null},
            {"name": "jobs-https", "status": "failed", "reason": "PUT /jobs answers 504"},
            {"name": "urls", "status": "skipped", "reason": "the stage local does not contain it"}]}"#;
        assert_eq!(failed(report).unwrap(), ["jobs-https: PUT /jobs answers 504"]);
        assert!(
            failed(b"{\"tests\": []}").is_err(),
            "then the exit code is the reason"
        );
    }
}
