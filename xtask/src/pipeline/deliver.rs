//! A stage on a cluster: deploy, verify, keep or roll back.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use testbed::{paths, progress, wait};

use super::canary::Canaries;
use super::cluster::Cluster;
use super::deploy::{Failure, deploy};
use super::event::{self, Happened};
use super::guard::{Guard, Signals};
use super::lease::Lease;
use super::options::Options;
use super::outcome::{Outcome, Stop};
use super::prepare::Prepared;
use super::record::{self, Verified};
use super::release::Release;
use super::stage::Stage;
use super::verify::Tests;
use super::{source, target, time};
use crate::images;

/// How often the manifests of a rollback are applied, if `kubectl apply` fails: a loaded API server may need some seconds.
const ROLLBACKS: u32 = 3;

/// The pause between two of them.
const PAUSE: Duration = Duration::from_secs(5);

/// Runs a stage on its cluster.
///
/// # Errors
/// A [`Stop`]; or a failure that says nothing about the release.
pub(super) fn run(options: &Options, stage: Stage) -> Result<Outcome> {
    let path = options.release_file();
    let release = Release::for_stage(&path, stage)?;
    let overlay = options.overlay(stage);
    source::check_manifests(&paths::workspace(), &overlay, &release.revision)?;
    let folder = options.folder(stage);
    let tests = Tests::new(stage, &options.verify_flags(stage), &overlay, &folder)?;
    let cluster = target::cluster(options, stage, &overlay)?;
    let images = target::images(options, stage, &release)?;
    let loadtest = images::loadtest_program(options.profile())?;
    tests.check(&cluster, &loadtest)?;
    target::prepare(options, stage)?;
    let signals = Signals::catch()?;
    let holder = holder(&release);
    let lease = Lease::take(&cluster, holder.clone(), || signals.check())?;
    let delivery = Delivery {
        guard: Guard {
            signals: &signals,
            lease: &lease,
        },
        cluster: &cluster,
        release: &release,
        stage,
        images: &images,
        overlay: &overlay,
        folder: &folder,
        tests: &tests,
        loadtest: &loadtest,
        holder: &holder,
        without_canary: options.no_canary,
        has_deployed: Cell::new(false),
    };
    // A signal may be the reason of another error.
    let outcome = delivery.run().or_else(|error| signals.check().and(Err(error)));
    if matches!(&outcome, Err(error) if !matches!(error.downcast_ref(), Some(Stop::Refused(_)))) {
        eprintln!("{}", delivery.what_is_unknown());
    }
    if let Err(error) = lease.release() {
        eprintln!("warning: {error:#}. The lease ends by itself");
    }
    if matches!(outcome, Ok(Outcome::Passed)) {
        release.note(&path, stage, time::seconds())?;
    }
    let outcome = outcome?;
    for page in tests.pages() {
        println!("report: {}", page.display());
    }
    if options.uses_testbed(stage) {
        println!("the cluster stays up; `cargo xtask cluster down` stops it");
    }
    Ok(outcome)
}

/// Names this pipeline in the lease and in events.
fn holder(release: &Release) -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname");
    let host = host.unwrap_or_else(|_| "unknown host".to_owned());
    format!(
        "{} pid {} release {}",
        host.trim(),
        std::process::id(),
        release.version
    )
}

/// The deployment of a release on a cluster.
struct Delivery<'a> {
    guard: Guard<'a>,
    cluster: &'a Cluster,
    release: &'a Release,
    stage: Stage,
    images: &'a BTreeMap<String, String>,
    overlay: &'a Path,
    folder: &'a Path,
    tests: &'a Tests,
    loadtest: &'a Path,
    holder: &'a str,
    without_canary: bool,
    /// Whether the deployment of the release has begun.
    has_deployed: Cell<bool>,
}

/// What the tests found.
struct Tested {
    /// The tests that failed, with their reasons.
    failed: Vec<String>,
    /// Whether the release was deployed, or only tried on canaries.
    is_deployed: bool,
}

impl Delivery<'_> {
    fn run(&self) -> Result<Outcome> {
        let prepared = Prepared::new(&self.guard, self.cluster, self.overlay, self.images, self.folder)?;
        self.tests.delete_reports();
        let Tested { failed, is_deployed } = self.try_deploy_and_verify(&prepared)?;
        if failed.is_empty() {
            self.keep(&prepared.rendered)?;
            return Ok(Outcome::Passed);
        }
        println!("{} failed the stage {}:", self.release.version, self.stage);
        for test in &failed {
            println!("  {test}");
        }
        let outcome = if let Some(before) = &prepared.before {
            self.roll_back(before, &prepared.rollback(), &failed)?
        } else {
            let note = format!(
                "{} failed: {}. No release was verified before",
                self.release.version,
                failed.join("; ")
            );
            self.event(Happened::ReleaseFailed, &note)?;
            let stays = if is_deployed { "it" } else { "what runs" };
            println!(
                "no release was verified before it on {}, so {stays} stays",
                self.cluster.describe()
            );
            Outcome::NothingBefore
        };
        self.say_what_runs();
        Ok(outcome)
    }

    /// Tries the release on canaries first.
    fn try_deploy_and_verify(&self, prepared: &Prepared) -> Result<Tested> {
        let manifests = prepared.release();
        let canaries = Canaries {
            guard: &self.guard,
            cluster: self.cluster,
            tests: self.tests,
            loadtest: self.loadtest,
            manifests: &manifests,
            before: prepared.before.as_ref(),
        };
        canaries.delete_leftovers()?;
        if self.without_canary {
            eprintln!("  …       no canary (--no-canary)");
        } else {
            let failed = canaries.run()?;
            if !failed.is_empty() {
                return Ok(Tested {
                    failed,
                    is_deployed: false,
                });
            }
        }
        Ok(Tested {
            failed: self.deploy_and_verify(prepared)?,
            is_deployed: true,
        })
    }

    /// Returns the tests that failed.
    fn deploy_and_verify(&self, prepared: &Prepared) -> Result<Vec<String>> {
        self.has_deployed.set(true);
        let deployed = progress::step(
            &format!("deploy {} to {}", self.release.version, self.cluster.describe()),
            || deploy(&self.guard, self.cluster, &prepared.release()),
        )?;
        if let Some(failure) = deployed {
            return Ok(vec![format!("apply: {failure}")]);
        }
        progress::step(&format!("verify the stage {}", self.stage), || {
            let overlay = prepared.overlay();
            self.tests.run(&self.guard, self.cluster, self.loadtest, &overlay)
        })
    }

    /// Records the release as the verified one.
    fn keep(&self, rendered: &str) -> Result<()> {
        progress::step("record the release", || {
            let release = (self.release, self.stage);
            Verified::write(&self.guard, self.cluster, release, self.images, rendered)?;
            let note = format!("{} passed the stage {}", self.release.version, self.stage);
            self.event(Happened::Released, &note)
        })?;
        println!(
            "released {} to {}, stage {}",
            self.release.version,
            self.cluster.describe(),
            self.stage
        );
        self.say_what_runs();
        Ok(())
    }

    /// Deploys the last verified release again.
    fn roll_back(&self, before: &Verified, manifests: &Path, failed: &[String]) -> Result<Outcome> {
        let problem = progress::step(&format!("roll back to {}", before.version), || {
            let mut problem = deploy(&self.guard, self.cluster, manifests)?;
            for _ in 1..ROLLBACKS {
                let Some(Failure::Apply(reason)) = &problem else {
                    break;
                };
                eprintln!(
                    "  …       kubectl apply: {reason}; again in {} s",
                    PAUSE.as_secs()
                );
                wait::pause(PAUSE);
                problem = deploy(&self.guard, self.cluster, manifests)?;
            }
            Ok(problem)
        })?;
        let failure = format!(
            "{} failed the stage {}: {}",
            self.release.version,
            self.stage,
            failed.join("; ")
        );
        Ok(if let Some(problem) = problem {
            self.event(
                Happened::ReleaseFailed,
                &format!("{failure}. {} does not run again: {problem}", before.version),
            )?;
            println!("{} does not run again: {problem}", before.version);
            Outcome::RollbackFailed
        } else {
            self.event(
                Happened::RolledBack,
                &format!("rolled back to {}. {failure}", before.version),
            )?;
            println!(
                "rolled back to {}, which was verified at {}",
                before.version, before.time
            );
            Outcome::RolledBack
        })
    }

    /// Writes an event. What happened stays, also if nobody can read about it: then only a stop is an error.
    fn event(&self, happened: Happened, note: &str) -> Result<()> {
        match event::write(&self.guard, self.cluster, happened, note, self.holder) {
            Err(error) if !error.is::<Stop>() => {
                eprintln!("warning: no event {happened:?}: {error:#}");
                Ok(())
            }
            written => written,
        }
    }

    fn say_what_runs(&self) {
        match record::running(&self.guard, self.cluster) {
            Ok(running) => {
                for (name, image) in running {
                    println!("  {name} runs {image}");
                }
            }
            Err(error) => eprintln!("warning: what runs now cannot be read: {error:#}"),
        }
    }

    /// After a stop: what a person must know until the next run.
    fn what_is_unknown(&self) -> String {
        let before = match Verified::read(self.cluster) {
            Ok(Some(before)) => format!("the last verified release is {}", before.version),
            Ok(None) => "no release was verified yet".to_owned(),
            Err(_) => "the last verified release cannot be read".to_owned(),
        };
        let version = &self.release.version;
        let state = if self.has_deployed.get() {
            format!(
                "{version} may run on {} and is not verified",
                self.cluster.describe()
            )
        } else {
            format!("{version} was only tried on canaries, if at all; what ran before still runs")
        };
        format!("{state}; {before}. Run the same command again: it deploys and verifies from the start")
    }
}

#[cfg(test)]
mod tests;
