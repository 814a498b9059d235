//! Bad releases, under steady load: which test of the canary catches each, and how many requests it answered until then.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use e2e::{COMMAND_DEADLINE, deploy, eventually, kubectl, loadtest, succeed, text, with_diagnostics};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use testbed::{command, paths};

use super::build::{Build, Flags, ended};
use super::{deployment, expect_events, expect_released};

/// The load of the users: half to `/hello`, half to `/jobs`.
const USERS: f64 = 100.0;

/// The largest share of a canary beside two stable pods.
const SHARE: f64 = 1.0 / 3.0;

/// How long clients may keep a connection to a canary that was deleted, and kube-proxy may route to it. `loadtest` replaces a connection
/// after 6 s, the faulty release after 2 s.
const AFTER_SECONDS: f64 = 8.0;

/// Chance distributes connections, not requests.
const UNEVEN: f64 = 1.5;

/// The shortest window, without the handshakes of TLS.
const FLAGS: Flags<'_> = Flags {
    pipeline: &[],
    verify: &["--load-url", "http://127.0.0.1:30080/hello", "--window", "20s"],
};

/// A bad release.
struct Bad {
    /// The variable `FAULT` of `e2e/examples/faulty_release.rs`.
    fault: &'static str,
    /// The test that catches it.
    test: &'static str,
    /// A part of the reason.
    reason: &'static str,
    /// Whether it answers requests of users until then.
    is_admitted: bool,
}

const SOMETIMES_SLOW: Bad = Bad {
    fault: "sometimes-slow",
    test: "canary-load",
    reason: "slower than",
    is_admitted: true,
};

const OTHERS: [Bad; 5] = [
    Bad {
        fault: "wrong-answers",
        test: "canary-urls",
        reason: "PUT http://127.0.0.1:",
        is_admitted: false,
    },
    Bad {
        fault: "slow",
        test: "canary-metrics",
        reason: "the average response time exceeds 200 ms",
        is_admitted: false,
    },
    Bad {
        fault: "crash",
        test: "canary-starts",
        reason: "it ended with exit code 1",
        is_admitted: false,
    },
    Bad {
        fault: "no-metrics",
        test: "canary-metrics",
        reason: "there is no series http_requests_total",
        is_admitted: false,
    },
    Bad {
        fault: "wears-out",
        test: "canary-load",
        reason: "failed: ",
        is_admitted: true,
    },
];

impl Build {
    /// Compiles the faulty release, and returns a layer with it.
    fn faulty_layer(&self) -> Result<PathBuf> {
        let layer = self.folder().join("faulty.tar");
        let mut rustc = Command::new("rustc");
        rustc
            .args([
                "-O",
                "--edition",
                "2024",
                "-C",
                "target-feature=+crt-static",
                "-o",
            ])
            .arg(self.folder().join("faulty"))
            .arg(paths::workspace().join("e2e/examples/faulty_release.rs"));
        succeed(&mut rustc)?;
        let mut tar = Command::new("tar");
        tar.arg("--create")
            .arg("--file")
            .arg(&layer)
            .arg("--directory")
            .arg(self.folder());
        succeed(tar.arg("faulty"))?;
        Ok(layer)
    }

    fn faulty(&self, layer: &str, fault: &str) -> Result<Value> {
        let variable = format!("FAULT={fault}");
        let flags = ["--append", layer, "--entrypoint", "/faulty", "--env", &variable];
        self.variant(&format!("0.1.0+{fault}"), &flags)
    }
}

/// The requests of the users.
struct Users(Child);

impl Users {
    fn start() -> Result<Self> {
        let rate = USERS.to_string();
        let load = [
            "run",
            "--target",
            "1 GET http://127.0.0.1:30080/hello",
            "--target",
            "1 PUT http://127.0.0.1:30080/jobs",
            "--header",
            "Authorization: mytoken",
            "-q",
            &rate,
            "-z",
            "30m",
            // The test counts requests. A generator that sends late on a busy machine loses none.
            "--max-lag",
            "5s",
            "--json",
        ];
        let process = loadtest(&load)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        Ok(Self(process))
    }

    /// Returns the report.
    fn stop(self) -> Result<Value> {
        kill(Pid::from_raw(i32::try_from(self.0.id())?), Signal::SIGINT)?;
        let load = command::wait(self.0, "loadtest run", COMMAND_DEADLINE)?;
        serde_json::from_slice(&load.stdout).with_context(|| text(&load))
    }
}

/// Delivers a bad release under load, and expects that its canary is caught, and that all is as before.
fn expect_caught(build: &Build, layer: &str, bad: &Bad) -> Result<()> {
    let Bad {
        fault,
        test,
        reason,
        is_admitted,
    } = bad;
    let release = build.faulty(layer, fault)?;
    let record = deployment("app-a", super::ANNOTATION)?;
    let users = Users::start()?;
    let started = Instant::now();
    let pipeline = build.pipeline_with(&release, &FLAGS);
    let printed = pipeline.and_then(|pipeline| ended(pipeline, 4));
    let took = started.elapsed().as_secs_f64();
    let load = users.stop()?;
    let printed = printed?;
    for part in [&format!("{test}: app-a: "), *reason, "rolled back to 0.1.0+first"] {
        ensure!(printed.contains(part), "{part:?} is missing in: {printed}");
    }
    expect_events("RolledBack", &["0.1.0+first", fault, test])?;
    expect_released(&build.release)?;
    ensure!(
        deployment("app-a", super::ANNOTATION)? == record,
        "the record has changed"
    );
    no_canary()?;

    let served = load["served_by"].as_object().context("no pods")?;
    let canaries = served.iter().filter(|(pod, _)| pod.contains("-canary-"));
    let seen: u64 = canaries.filter_map(|(_, count)| count.as_u64()).sum();
    let (all, failed) = (
        &load["requests"]["succeeded"],
        load["requests"]["failed"].as_u64(),
    );
    let exposed = if *is_admitted { exposed_seconds()? } else { 0.0 };
    println!(
        "{fault}: caught by {test} after {took:.0} s, {exposed:.1} s under load; of {all} answered requests and {failed:?} failed \
         ones, {seen} reached the canary"
    );
    if *is_admitted {
        let bound = (exposed + AFTER_SECONDS) * USERS * SHARE * UNEVEN;
        #[expect(clippy::cast_precision_loss, reason = "some hundred requests")]
        let seen = seen as f64;
        ensure!(
            seen > 0.0 && seen < bound,
            "{seen} requests, not up to {bound}: {load}"
        );
    } else {
        ensure!(seen == 0, "{seen} requests reached the canary: {load}");
    }
    // Only the canary may fail a request: each failed one has a response, and no stable pod counted a failure.
    let failed = failed.context("no count")?;
    ensure!(
        load["failures"]["status"].as_u64() == Some(failed) && failed <= seen,
        "{failed} requests failed: {}",
        load["failures"]
    );
    let of_stable = printed
        .split(": failed: ")
        .nth(1)
        .and_then(|text| text.split(" requests, stable pods ").nth(1));
    ensure!(
        failed == 0 || of_stable.is_some_and(|text| text.starts_with("0 of ")),
        "stable pods failed requests: {printed}"
    );
    ensure!(
        *fault == "wears-out" || failed == 0,
        "{failed} requests failed: {load}"
    );
    Ok(())
}

/// How long the test under load lasted.
fn exposed_seconds() -> Result<f64> {
    let report = fs::read(paths::target().join("pipeline/local/canary-load.json"))?;
    let report: Value = serde_json::from_slice(&report)?;
    report["duration_seconds"].as_f64().context("no duration")
}

/// Starts a delivery, and sends it a signal when it has a canary. Returns its exit code and the canary.
fn stop_at_canary(build: &Build, release: &Value, signal: Signal) -> Result<(Option<i32>, String)> {
    let running = build.pipeline_with(release, &FLAGS)?;
    let canary = eventually("there is a canary", || {
        let canary = canaries()?;
        ensure!(!canary.is_empty(), "no canary");
        Ok(canary)
    })?;
    running.signal(signal)?;
    Ok((running.wait()?.0, canary))
}

/// Waits until no pod of a canary is left.
fn no_canary() -> Result<()> {
    eventually("no canary is left", || {
        let pods = canaries()?;
        ensure!(pods.is_empty(), "{pods}");
        Ok(())
    })
}

fn canaries() -> Result<String> {
    kubectl(&[
        "-n",
        "sample-app",
        "get",
        "pods",
        "-l",
        "sample-app/track",
        "-o",
        "name",
    ])
}

fn layer_of(build: &Build) -> Result<String> {
    Ok(build.faulty_layer()?.display().to_string())
}

#[test]
fn a_good_release_passes_and_one_that_is_slow_only_sometimes_is_caught_under_load() {
    with_diagnostics(|| {
        let build = Build::start()?;
        let layer = layer_of(&build)?;
        build.run(&build.release, 0)?;
        let users = Users::start()?;
        let mut good = build.variant("0.1.0+good", &["--label", "version=good"])?;
        good["images"]["app-b"] = build.mutated("app-b", &["--label", "version=good"])?;
        let (code, _) = stop_at_canary(&build, &good, Signal::SIGTERM)?;
        ensure!(code == Some(143), "exit code {code:?}");
        no_canary()?;
        let printed = build
            .pipeline_with(&good, &FLAGS)
            .and_then(|pipeline| ended(pipeline, 0));
        let load = users.stop()?;
        let printed = printed?;
        ensure!(
            printed.contains("compare the canary of app-b and app-a under load"),
            "{printed}"
        );
        expect_released(&good)?;
        no_canary()?;
        ensure!(load["requests"]["failed"] == 0, "{}", load["failures"]);
        println!("a good release: {printed}");

        build.run(&build.release, 0)?;
        expect_caught(&build, &layer, &SOMETIMES_SLOW)?;
        // The same images under their local names, which no registry has.
        deploy()
    });
}

/// Only in a long run: `cargo xtask test --suite delivery --soak`.
#[test]
fn each_of_the_bad_releases_is_caught_by_its_test() {
    with_diagnostics(|| {
        let build = Build::start()?;
        let layer = layer_of(&build)?;
        build.run(&build.release, 0)?;
        let next = build.variant("0.1.0+next", &["--label", "version=next"])?;
        let (_, leftover) = stop_at_canary(&build, &next, Signal::SIGKILL)?;
        ensure!(canaries()? == leftover, "a killed pipeline deletes nothing");
        // Its first run waits until the lease of the killed one ends, and deletes the canary.
        for bad in &OTHERS {
            expect_caught(&build, &layer, bad)?;
        }
        deploy()
    });
}
