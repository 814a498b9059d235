//! One run of `cargo xtask test`, and how its suites run their tests.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use testbed::{paths, progress};

use crate::cargo;
use crate::images::{self, Profile};

/// The settings of one run, shared by its suites.
pub(crate) struct Session {
    /// The path of this program. The tests on the cluster run its commands.
    xtask: PathBuf,
    /// The images that the cluster runs.
    pub(crate) profile: Profile,
    /// Whether the tests that take longest run too.
    pub(crate) soak: bool,
}

impl Session {
    /// Creates the session of this process. A soak run uses the release images.
    pub(crate) fn new(soak: bool) -> Result<Self> {
        Ok(Self {
            // Resolved now, because the build of the tests later replaces the file. The new file has the same path.
            xtask: std::env::current_exe().context("the path of this program")?,
            profile: if soak { Profile::Release } else { Profile::Quick },
            soak,
        })
    }

    /// Runs the tests that need no cluster.
    pub(crate) fn host_tests(&self) -> Result<()> {
        self.nextest("host", &["--workspace"])
    }

    /// Runs the tests of the crate `e2e` that a filterset of nextest selects.
    pub(crate) fn cluster_tests(&self, profile: &str, filter: &str) -> Result<()> {
        self.nextest(
            profile,
            &["--package", "e2e", "--features", "cluster", "--filterset", filter],
        )
    }

    fn nextest(&self, profile: &str, arguments: &[&str]) -> Result<()> {
        let program = cargo::NEXTEST.install()?;
        let mut command = progress::bound_to_this_process(&program.to_string_lossy());
        command
            .current_dir(paths::workspace())
            .args(["nextest", "run", "--locked", "--profile", profile])
            .args(arguments)
            .env("XTASK", &self.xtask)
            .env("LOADTEST", images::loadtest(self.profile)?)
            .env("IMAGES", images::folder(self.profile))
            .env(paths::OWNER_VARIABLE, paths::owner_lock())
            // Absolute: tests run in the folder of their package.
            .env("CARGO_TARGET_DIR", paths::target());
        cargo::remove_package_variables(&mut command);
        if self.soak {
            command.env("SOAK", "1");
        }
        let status = command.status().context("cannot run cargo-nextest")?;
        println!(
            "times of the tests: {}",
            paths::target()
                .join("nextest")
                .join(profile)
                .join("junit.xml")
                .display()
        );
        if !status.success() {
            bail!("suite {profile}: {status}");
        }
        Ok(())
    }
}
