//! An image of this project: its contents, its source, its tag and its archive.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};
use testbed::archive::{self, Config, Entry, HealthCheck};
use testbed::{paths, progress};

use crate::revision;

/// The user that every image runs as: "nonroot" of the distroless images.
const USER: u64 = 65_532;

/// How the programs of the images are compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// For the demo and the tests: builds in a third of the time, without link-time optimisation.
    Quick,
    /// For deployments and benchmarks.
    Release,
}

impl Profile {
    /// The name of the profile in Cargo.toml, and of its folder below `target`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Release => "release",
        }
    }
}

/// One of this project's images.
pub(super) struct Image {
    /// The name of the image and of its archive.
    pub(super) name: &'static str,
    /// The program, `/PROGRAM` in the image.
    pub(super) program: &'static str,
    /// The folder of the crate of the program.
    pub(super) package: &'static str,
    /// The folders of the crates that the program is built from.
    crates: &'static [&'static str],
    /// Environment variables with the addresses that a container listens on.
    environment: &'static [&'static str],
    /// The TCP ports that a container listens on. A program that listens has a health check.
    ports: &'static [u16],
    /// A folder that the program writes to, where a volume is mounted.
    data: Option<&'static str>,
}

/// The images that the manifests name.
pub(super) const SERVICES: [Image; 3] = [
    Image {
        name: "app-a",
        program: "app_a",
        package: "app_a",
        crates: &["service", "app_a"],
        environment: &["LISTEN=0.0.0.0:5000", "ADMIN_LISTEN=0.0.0.0:9000"],
        ports: &[5000, 9000],
        data: None,
    },
    Image {
        name: "app-b",
        program: "app_b",
        package: "app_b",
        crates: &["service", "app_b"],
        environment: &[
            "LISTEN=0.0.0.0:5001",
            "ADMIN_LISTEN=0.0.0.0:9000",
            "DATABASE_URL=sqlite:///data/app_b.db",
        ],
        ports: &[5001, 9000],
        data: Some("/data"),
    },
    Image {
        name: "serving-cert",
        program: "serving-cert",
        package: "serving_cert",
        crates: &["service", "serving_cert"],
        environment: &[],
        ports: &[],
        data: None,
    },
];

/// The image of the load generator. No manifest names it: `loadtest job --image` does.
pub(super) const LOADTEST: Image = Image {
    name: "loadtest",
    program: "loadtest",
    package: "loadtest",
    crates: &[
        "kubernetes/chain",
        "kubernetes/wiring",
        "loadtest",
        "loadtest/engine",
        "loadtest/prover",
    ],
    environment: &[],
    ports: &[],
    data: None,
};

impl Image {
    pub(super) fn archive(&self, profile: Profile) -> PathBuf {
        folder(profile).join(format!("{}.tar", self.name))
    }

    /// The source that the image is built from.
    fn sources(&self) -> Result<Vec<PathBuf>> {
        let root = paths::workspace();
        // The last files define the layout of the archive, the flags of the compiler, how the process starts, and the labels.
        let mut files: Vec<_> = [
            "Cargo.toml",
            "Cargo.lock",
            ".cargo/config.toml",
            "testbed/src/archive.rs",
            "testbed/src/archive/config.rs",
            "testbed/src/archive/layer.rs",
            "xtask/src/images/flags.rs",
            "xtask/src/images/image.rs",
        ]
        .iter()
        .map(|file| root.join(file))
        .collect();
        for name in self.crates {
            files.push(root.join(name).join("Cargo.toml"));
            for folder in ["src", "migrations", "templates"] {
                collect(&root.join(name).join(folder), &mut files)?;
            }
        }
        files.sort();
        Ok(files)
    }

    /// A hash of the source that the image is built from, so that changed code rolls out. It covers all of Cargo.lock,
    /// so an unrelated dependency changes the tag too. It does not cover the compiler and the profile.
    pub(super) fn tag(&self) -> Result<String> {
        let root = paths::workspace();
        let mut hash = Sha256::new();
        for file in self.sources()? {
            hash.update(file.strip_prefix(&root)?.to_string_lossy().as_bytes());
            hash.update([0]);
            hash.update(fs::read(&file).with_context(|| file.display().to_string())?);
            hash.update([0]);
        }
        Ok(testbed::components::hex(&hash.finalize())[..12].to_owned())
    }

    pub(super) fn reference(&self) -> Result<String> {
        Ok(format!("{}:{}", self.name, self.tag()?))
    }

    /// The environment of the process. The program reads the tag and the revision from it instead of containing them, so that
    /// the same source gives the same program. They become labels of its metrics, so only a program that listens has
    /// them.
    fn environment(&self, revision: &str) -> Result<Vec<String>> {
        let fixed = [archive::PATH]
            .into_iter()
            .chain(self.environment.iter().copied());
        let mut environment: Vec<_> = fixed.map(str::to_owned).collect();
        if !self.ports.is_empty() {
            environment.push(format!("IMAGE_TAG={}", self.tag()?));
            environment.push(format!("IMAGE_REVISION={revision}"));
        }
        Ok(environment)
    }

    /// The last commit that changed the source of the image.
    pub(super) fn revision(&self) -> Result<String> {
        Ok(revision::of(&paths::workspace(), &self.sources()?))
    }

    /// The labels of the image, with the names of the OCI (<https://specs.opencontainers.org/image-spec/annotations/>).
    ///
    /// The version is that of the workspace, with the tag as its build metadata. No version of the workspace identifies a source.
    fn labels(&self, revision: &str) -> Result<BTreeMap<String, String>> {
        let mut labels = vec![
            ("title", self.name.to_owned()),
            (
                "version",
                format!("{}+{}", env!("CARGO_PKG_VERSION"), self.tag()?),
            ),
            ("revision", revision.to_owned()),
        ];
        labels.extend(source_repository().map(|url| ("source", url)));
        let name = |label| format!("org.opencontainers.image.{label}");
        Ok(labels
            .into_iter()
            .map(|(label, value)| (name(label), value))
            .collect())
    }

    /// The same health check as in the Dockerfile, so that docker-compose also waits for these images.
    fn health_check(&self) -> HealthCheck {
        HealthCheck {
            command: vec![format!("/{}", self.program), "healthcheck".to_owned()],
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(3),
            start_period: Duration::from_secs(30),
            retries: 3,
        }
    }

    /// Loads the archive into the Docker engine, also with the tag `latest`, which docker-compose.yml uses.
    pub(super) fn load(&self, profile: Profile) -> Result<()> {
        let archive = self.archive(profile);
        let mut load = Command::new("docker");
        progress::run(load.args(["load", "--quiet", "--input"]).arg(&archive))?;
        let mut tag = Command::new("docker");
        progress::run(tag.args(["tag", &self.reference()?, &format!("{}:latest", self.name)])).map(drop)
    }

    pub(super) fn write(&self, profile: Profile) -> Result<()> {
        let revision = self.revision()?;
        let config = Config {
            entrypoint: vec![format!("/{}", self.program)],
            user: format!("{USER}:{USER}"),
            working_directory: "/".to_owned(),
            environment: self.environment(&revision)?,
            labels: self.labels(&revision)?,
            ports: self.ports.to_vec(),
            health_check: (!self.ports.is_empty()).then(|| self.health_check()),
            ..Config::default()
        };
        let mut entries = vec![Entry::program(
            format!("/{}", self.program),
            programs(profile)?.join(self.program),
        )];
        entries.extend(self.data.map(|folder| Entry::directory(folder, 0o750, USER)));
        archive::write(&self.archive(profile), &self.reference()?, &config, &entries)
    }
}

/// The address of the repository that people see. git does not know it: the remote of a clone may be another one, or a folder.
fn source_repository() -> Option<String> {
    let declared = || option_env!("CARGO_PKG_REPOSITORY").map(str::to_owned);
    let url = std::env::var("IMAGE_SOURCE").ok().or_else(declared);
    url.filter(|url| !url.is_empty())
}

/// Every image: those that the manifests name, and the load generator.
pub(super) fn all() -> impl Iterator<Item = &'static Image> {
    SERVICES.iter().chain([&LOADTEST])
}

/// The folder of the compiled programs.
pub(crate) fn programs(profile: Profile) -> Result<PathBuf> {
    Ok(paths::target().join(paths::host()?).join(profile.name()))
}

/// The folder of the archives.
pub(crate) fn folder(profile: Profile) -> PathBuf {
    match profile {
        Profile::Quick => paths::target().join("images-quick"),
        Profile::Release => paths::target().join("images"),
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}
