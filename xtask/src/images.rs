//! `cargo xtask images`: this project's container images, built from source without Docker. `docker build` of the
//! Dockerfile gives images with the same configuration.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use sha2::{Digest as _, Sha256};
use testbed::archive::{self, Config, Entry, HealthCheck};
use testbed::{paths, progress};

use crate::{cargo, revision};

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
    fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Release => "release",
        }
    }
}

/// One of this project's images.
struct Image {
    /// The name of the image and of its archive.
    name: &'static str,
    /// The program, `/PROGRAM` in the image.
    program: &'static str,
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
const SERVICES: [Image; 3] = [
    Image {
        name: "app-a",
        program: "app_a",
        crates: &["service", "app_a"],
        environment: &["LISTEN=0.0.0.0:5000", "ADMIN_LISTEN=0.0.0.0:9000"],
        ports: &[5000, 9000],
        data: None,
    },
    Image {
        name: "app-b",
        program: "app_b",
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
        crates: &["service", "serving_cert"],
        environment: &[],
        ports: &[],
        data: None,
    },
];

/// The image of the load generator. No manifest names it: `loadtest job --image` does.
const LOADTEST: Image = Image {
    name: "loadtest",
    program: "loadtest",
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
    fn archive(&self, profile: Profile) -> PathBuf {
        folder(profile).join(format!("{}.tar", self.name))
    }

    /// The source that the image is built from.
    fn sources(&self) -> Result<Vec<PathBuf>> {
        let root = paths::workspace();
        // The last two files define the layout of the archive and how the process starts.
        let mut files: Vec<_> = [
            "Cargo.toml",
            "Cargo.lock",
            ".cargo/config.toml",
            "testbed/src/archive.rs",
            "xtask/src/images.rs",
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
    fn tag(&self) -> Result<String> {
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

    fn reference(&self) -> Result<String> {
        Ok(format!("{}:{}", self.name, self.tag()?))
    }

    /// The environment of the process. The program reads the tag and the revision from it instead of containing them, so that
    /// the same source gives the same program. Only a program that listens has metrics, whose labels they are.
    fn environment(&self) -> Result<Vec<String>> {
        let fixed = [archive::PATH]
            .into_iter()
            .chain(self.environment.iter().copied());
        let mut environment: Vec<_> = fixed.map(str::to_owned).collect();
        if !self.ports.is_empty() {
            let revision = revision::of(&paths::workspace(), &self.sources()?);
            environment.push(format!("IMAGE_TAG={}", self.tag()?));
            environment.push(format!("IMAGE_REVISION={revision}"));
        }
        Ok(environment)
    }

    /// The check of the Dockerfile, so that docker-compose waits for these images too.
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
    fn load(&self, profile: Profile) -> Result<()> {
        let archive = self.archive(profile);
        let mut load = Command::new("docker");
        progress::run(load.args(["load", "--quiet", "--input"]).arg(&archive))?;
        let mut tag = Command::new("docker");
        progress::run(tag.args(["tag", &self.reference()?, &format!("{}:latest", self.name)])).map(drop)
    }

    fn write(&self, profile: Profile) -> Result<()> {
        let config = Config {
            entrypoint: vec![format!("/{}", self.program)],
            user: format!("{USER}:{USER}"),
            working_directory: "/".to_owned(),
            environment: self.environment()?,
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

#[derive(Args)]
pub(crate) struct Options {
    /// Only write the tags, without a build
    #[arg(long)]
    tags_only: bool,
    /// Build without link-time optimisation, as the demo and the tests do: faster to build, larger and slower to run
    #[arg(long, conflicts_with = "tags_only")]
    quick: bool,
    /// Also load the images into Docker, with the tag `latest`, so that `docker-compose up --no-build` uses them
    #[arg(long, conflicts_with = "tags_only")]
    load: bool,
}

/// `cargo xtask images`: builds the images and writes their tags into the manifests.
///
/// # Errors
/// When a build fails, a file cannot be written, or Docker does not load an image.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if options.tags_only {
        write_tags()?;
        return Ok(ExitCode::SUCCESS);
    }
    let profile = if options.quick {
        Profile::Quick
    } else {
        Profile::Release
    };
    build(profile)?;
    write_tags()?;
    if options.load {
        progress::step("load the images into Docker", || {
            all().try_for_each(|image| image.load(profile))
        })?;
    }
    for image in all() {
        let archive = image.archive(profile);
        println!(
            "{}  {:.1} MB  {}",
            archive.display(),
            megabytes(&archive)?,
            image.reference()?
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds the programs, statically linked, and writes the archives.
///
/// # Errors
/// When a build fails, or a file cannot be written.
pub(crate) fn build(profile: Profile) -> Result<()> {
    match profile {
        // One build shares the libraries. Each gets the union of the features that the programs need.
        Profile::Quick => {
            compile(profile, &["app_a", "app_b", "serving_cert", "loadtest"])?;
            write(profile, all())
        }
        // Two builds, so that the services contain no feature that only the load generator needs.
        Profile::Release => {
            build_services()?;
            build_loadtest().map(drop)
        }
    }
}

/// Builds the release images that the manifests name.
///
/// # Errors
/// When a build fails, or a file cannot be written.
pub(crate) fn build_services() -> Result<()> {
    compile(Profile::Release, &["app_a", "app_b", "serving_cert"])?;
    write(Profile::Release, SERVICES.iter())
}

/// Builds the release image of the load generator, and returns the path of its program.
///
/// # Errors
/// When a build fails, or a file cannot be written.
pub(crate) fn build_loadtest() -> Result<PathBuf> {
    compile(Profile::Release, &["loadtest"])?;
    write(Profile::Release, [&LOADTEST].into_iter())?;
    loadtest(Profile::Release)
}

fn compile(profile: Profile, packages: &[&str]) -> Result<()> {
    if std::env::consts::OS != "linux" {
        bail!(
            "the images contain Linux programs, and this machine runs {}: build them with the Dockerfile, \
             `docker build --target app_a --tag app-a:TAG .` and so on, with the tags of {}",
            std::env::consts::OS,
            tags_file().display()
        );
    }
    let target = paths::host()?;
    progress::step(
        &format!("build {} ({})", packages.join(", "), profile.name()),
        || {
            let mut command = cargo::command(&[
                "build",
                "--profile",
                profile.name(),
                "--locked",
                "--target",
                &target,
                "--bins",
            ]);
            command
                .args(packages.iter().flat_map(|package| ["--package", package]))
                .env("RUSTFLAGS", STATIC);
            progress::run(&mut command).map(drop)
        },
    )
}

fn write(profile: Profile, mut images: impl Iterator<Item = &'static Image>) -> Result<()> {
    progress::step("write the images", || {
        images.try_for_each(|image| image.write(profile))
    })
}

/// Flags for programs that need no C library in their image. With `--target` they apply only to the programs, not to build
/// scripts and macros.
pub(crate) const STATIC: &str = "-C target-feature=+crt-static";

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

/// The program of the load generator that [`build`] compiles. Its image contains the same file.
pub(crate) fn loadtest(profile: Profile) -> Result<PathBuf> {
    Ok(programs(profile)?.join(LOADTEST.program))
}

fn all() -> impl Iterator<Item = &'static Image> {
    SERVICES.iter().chain([&LOADTEST])
}

/// The archives of the images that the manifests name.
pub(crate) fn service_archives(profile: Profile) -> Vec<PathBuf> {
    SERVICES.iter().map(|image| image.archive(profile)).collect()
}

/// The size of a file in megabytes (10^6 bytes).
pub(crate) fn megabytes(path: &Path) -> Result<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a size for people")]
    let bytes = fs::metadata(path)?.len() as f64;
    Ok(bytes / 1e6)
}

fn tags_file() -> PathBuf {
    paths::workspace().join("kubernetes/components/images/kustomization.yaml")
}

/// The text of the tags file with the tags of the present source.
fn with_current_tags(text: &str) -> Result<String> {
    let mut name = None;
    let mut lines = Vec::new();
    for line in text.lines() {
        if let Some(found) = line.trim_start().strip_prefix("- name: ") {
            name = SERVICES.iter().find(|image| image.name == found.trim());
        }
        match (line.split_once("newTag:"), name) {
            (Some((indent, _)), Some(image)) => lines.push(format!("{indent}newTag: \"{}\"", image.tag()?)),
            _ => lines.push(line.to_owned()),
        }
    }
    Ok(lines.join("\n") + "\n")
}

/// Writes the tags of the present source into the manifests.
///
/// # Errors
/// When the file cannot be read or written.
pub(crate) fn write_tags() -> Result<()> {
    let text = fs::read_to_string(tags_file())?;
    let current = with_current_tags(&text)?;
    if text != current {
        fs::write(tags_file(), current)?;
        println!("new image tags written to {}", tags_file().display());
    }
    Ok(())
}

/// Checks that the manifests name the tags of the present source.
///
/// # Errors
/// When they name other tags.
pub(crate) fn check_tags() -> Result<()> {
    let text = fs::read_to_string(tags_file())?;
    if text != with_current_tags(&text)? {
        bail!(
            "{} names the tags of an older source: run `cargo xtask images` and commit the file",
            tags_file().display()
        );
    }
    Ok(())
}
