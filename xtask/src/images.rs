//! `cargo xtask images`: this project's images, from its own source, without Docker. `docker build` of the Dockerfile
//! gives the same programs, paths and users.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};
use testbed::archive::{self, Config, Entry};
use testbed::{paths, progress};

use crate::cargo;

/// The user that every image runs as: "nonroot", as distroless images number it.
const USER: u64 = 65_532;

/// One of our images.
struct Image {
    /// Its name, and the archive's.
    name: &'static str,
    /// The program, `/PROGRAM` in the image.
    program: &'static str,
    /// The folders whose source goes into it.
    crates: &'static [&'static str],
    /// What the address variables are in a container: reachable from outside of it.
    environment: &'static [&'static str],
    /// A folder that the program writes to, where a volume is mounted.
    data: Option<&'static str>,
}

/// Those that the manifests name.
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
        crates: &["serving_cert"],
        environment: &[],
        data: None,
    },
];

/// The load generator's: `loadtest job` is told its name.
const LOADTEST: Image = Image {
    name: "loadtest",
    program: "loadtest",
    crates: &["loadtest"],
    environment: &[],
    data: None,
};

impl Image {
    fn archive(&self) -> PathBuf {
        paths::own_images().join(format!("{}.tar", self.name))
    }

    /// A hash of what the image is made of, so that changed code rolls out. All of Cargo.lock is in it: a tag may change
    /// without need, and stays only where another compiler makes the program anew.
    fn tag(&self) -> Result<String> {
        let root = paths::workspace();
        // The last two say how the archive is laid out, and how the process starts.
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
        let mut hash = Sha256::new();
        for file in files {
            hash.update(file.strip_prefix(&root)?.to_string_lossy().as_bytes());
            hash.update([0]);
            hash.update(fs::read(&file).with_context(|| file.display().to_string())?);
            hash.update([0]);
        }
        Ok(testbed::tools::hex(&hash.finalize())[..12].to_owned())
    }

    fn reference(&self) -> Result<String> {
        Ok(format!("{}:{}", self.name, self.tag()?))
    }

    fn write(&self, programs: &Path) -> Result<()> {
        let config = Config {
            entrypoint: vec![format!("/{}", self.program)],
            user: format!("{USER}:{USER}"),
            working_directory: "/".to_owned(),
            environment: self
                .environment
                .iter()
                .map(|variable| (*variable).to_owned())
                .collect(),
            ..Config::default()
        };
        let mut entries = vec![Entry::program(
            format!("/{}", self.program),
            programs.join(self.program),
        )];
        entries.extend(self.data.map(|folder| Entry::directory(folder, 0o750, USER)));
        archive::write(&self.archive(), &self.reference()?, &config, &entries)
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

/// Builds the programs, static, writes the archives, and puts the tags into the manifests.
///
/// # Errors
/// When a build fails, or a file cannot be written.
pub(crate) fn run() -> Result<()> {
    build()?;
    write_tags()?;
    for image in all() {
        let archive = image.archive();
        println!(
            "{}  {:.1} MB  {}",
            archive.display(),
            megabytes(&archive)?,
            image.reference()?
        );
    }
    Ok(())
}

/// Builds the programs and writes the archives, for tags that the manifests name already.
///
/// # Errors
/// As [`run`]; and when the manifests name other tags than the source gives.
pub(crate) fn build_as_committed() -> Result<()> {
    check_tags()?;
    build()
}

/// Builds the programs, static, and writes the archives.
///
/// # Errors
/// When a build fails, or a file cannot be written.
fn build() -> Result<()> {
    build_services()?;
    build_loadtest().map(drop)
}

/// The same for those images alone that the manifests name.
///
/// # Errors
/// As [`run`].
pub(crate) fn build_services() -> Result<()> {
    build_these(&["app_a", "app_b", "serving_cert"], &SERVICES)
}

/// The load generator's image alone. Says where its program is.
///
/// Apart: built together they would get the same features of the libraries that they share, and the services would be made
/// of what the load generator needs.
///
/// # Errors
/// As [`run`].
pub(crate) fn build_loadtest() -> Result<PathBuf> {
    build_these(&["loadtest"], &[LOADTEST])?;
    loadtest()
}

fn build_these(packages: &[&str], images: &[Image]) -> Result<()> {
    if std::env::consts::OS != "linux" {
        bail!(
            "the images hold Linux programs, and this is {}: build them with the Dockerfile, \
             `docker build --target app_a --tag app-a:TAG .` and so on, with the tags of {}",
            std::env::consts::OS,
            tags_file().display()
        );
    }
    let target = paths::host()?;
    progress::step(&format!("build {}", packages.join(", ")), || {
        let mut command = cargo::command(&["build", "--release", "--locked", "--target", &target, "--bins"]);
        command
            .args(packages.iter().flat_map(|package| ["--package", package]))
            .env("RUSTFLAGS", STATIC);
        progress::run(&mut command).map(drop)
    })?;
    let programs = paths::own_programs()?;
    progress::step("write the images", || {
        images.iter().try_for_each(|image| image.write(&programs))
    })
}

/// Flags for programs that need no C library in their image. To be used with `--target`: they are then for the programs
/// alone, not for what runs during the build.
pub(crate) const STATIC: &str = "-C target-feature=+crt-static";

/// The load generator, once the images are built: what its image runs is what this machine runs.
pub(crate) fn loadtest() -> Result<PathBuf> {
    Ok(paths::own_programs()?.join(LOADTEST.program))
}

fn all() -> impl Iterator<Item = &'static Image> {
    SERVICES.iter().chain([&LOADTEST])
}

/// Where the archives lie.
pub(crate) fn archives() -> Vec<PathBuf> {
    all().map(Image::archive).collect()
}

/// Where those lie that the manifests name.
pub(crate) fn service_archives() -> Vec<PathBuf> {
    SERVICES.iter().map(Image::archive).collect()
}

/// The size of a file, in units of 10^6 bytes.
pub(crate) fn megabytes(path: &Path) -> Result<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a size for people")]
    let bytes = fs::metadata(path)?.len() as f64;
    Ok(bytes / 1e6)
}

fn tags_file() -> PathBuf {
    paths::workspace().join("kubernetes/components/images/kustomization.yaml")
}

/// The tags file as the source wants it.
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

fn write_tags() -> Result<()> {
    let text = fs::read_to_string(tags_file())?;
    let current = with_current_tags(&text)?;
    if text != current {
        fs::write(tags_file(), current)?;
        println!("{} names the new tags", tags_file().display());
    }
    Ok(())
}

/// Holds the tags in the manifests against the source.
///
/// # Errors
/// When they differ.
pub(crate) fn check_tags() -> Result<()> {
    let text = fs::read_to_string(tags_file())?;
    if text != with_current_tags(&text)? {
        bail!(
            "the source has changed since {} was written: run `cargo xtask images` and commit it",
            tags_file().display()
        );
    }
    Ok(())
}
