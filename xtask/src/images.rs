//! `cargo xtask images`: this project's container images, built from source without Docker. `docker build` of the
//! Dockerfile gives the same programs, paths and users.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};
use testbed::archive::{self, Config, Entry};
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
        data: Some("/data"),
    },
    Image {
        name: "serving-cert",
        program: "serving-cert",
        crates: &["service", "serving_cert"],
        environment: &[],
        data: None,
    },
];

/// The image of the load generator. No manifest names it: `loadtest job --image` does.
const LOADTEST: Image = Image {
    name: "loadtest",
    program: "loadtest",
    crates: &[
        "kubernetes/wiring",
        "loadtest",
        "loadtest/engine",
        "loadtest/prover",
    ],
    environment: &[],
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
    /// the same source gives the same program.
    fn environment(&self) -> Result<Vec<String>> {
        let fixed = self.environment.iter().map(|variable| (*variable).to_owned());
        let revision = revision::of(&paths::workspace(), &self.sources()?);
        let build = [
            format!("IMAGE_TAG={}", self.tag()?),
            format!("IMAGE_REVISION={revision}"),
        ];
        Ok(fixed.chain(build).collect())
    }

    fn write(&self, profile: Profile) -> Result<()> {
        let config = Config {
            entrypoint: vec![format!("/{}", self.program)],
            user: format!("{USER}:{USER}"),
            working_directory: "/".to_owned(),
            environment: self.environment()?,
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

/// `cargo xtask images`: builds the release images and writes their tags into the manifests.
///
/// # Errors
/// When a build fails, or a file cannot be written.
pub(crate) fn run() -> Result<()> {
    build(Profile::Release)?;
    write_tags()?;
    for image in all() {
        let archive = image.archive(Profile::Release);
        println!(
            "{}  {:.1} MB  {}",
            archive.display(),
            megabytes(&archive)?,
            image.reference()?
        );
    }
    Ok(())
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
