//! `cargo xtask images`: this project's container images, built from source without Docker. `docker build` of the
//! Dockerfile gives images with the same configuration.

mod check;
mod crane;
mod flags;
mod image;
mod push;
mod registry;
mod root;
mod sbom;
mod sign;
mod tags;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use testbed::{paths, progress};

use crate::cargo;
use image::{Image, LOADTEST, SERVICES, all};
use registry::Destination;

pub(crate) use check::check;
pub(crate) use flags::set as set_flags;
pub(crate) use image::{Profile, folder, programs};
pub(crate) use push::push;
pub(crate) use registry::Registry;
pub(crate) use tags::{check_tags, write_tags};

#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Options {
    /// Only write the tags, without a build
    #[arg(long)]
    tags_only: bool,
    /// Build without link-time optimisation, as the demo and the tests do: faster to build, larger and slower to run
    #[arg(long, conflicts_with = "tags_only")]
    quick: bool,
    /// Also start each image, and ask it. It runs as its own user with nothing but its files
    #[arg(long, conflicts_with = "tags_only")]
    check: bool,
    /// Also load the images into Docker, with the tag `latest`, so that `docker-compose up --no-build` uses them
    #[arg(long, conflicts_with = "tags_only")]
    load: bool,
    #[command(flatten)]
    destination: Destination,
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
    let registry = options.destination.registry();
    // Before the build, which takes minutes.
    registry.map_or(Ok(()), Registry::check)?;
    build(profile)?;
    write_tags()?;
    if options.check {
        check(profile)?;
    }
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
    if let Some(registry) = registry {
        push(registry, profile)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds the program of the load generator unless it is current, and returns its path. Of the same build as its image.
///
/// # Errors
/// When the build fails.
pub(crate) fn loadtest_program(profile: Profile) -> Result<PathBuf> {
    compile(profile, packages_with_loadtest(profile))?;
    loadtest(profile)
}

/// The packages that one build compiles together with the load generator. Each gets the union of the features that they need.
fn packages_with_loadtest(profile: Profile) -> &'static [&'static str] {
    match profile {
        // One build shares the libraries.
        Profile::Quick => &["app_a", "app_b", "serving_cert", "loadtest"],
        // Two builds, so that the services contain no feature that only the load generator needs.
        Profile::Release => &["loadtest"],
    }
}

/// Builds the programs, statically linked, and writes the archives.
///
/// # Errors
/// When a build fails, or a file cannot be written.
pub(crate) fn build(profile: Profile) -> Result<()> {
    match profile {
        Profile::Quick => {
            compile(profile, packages_with_loadtest(profile))?;
            write(profile, all())
        }
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
    compile(Profile::Release, packages_with_loadtest(Profile::Release))?;
    write(Profile::Release, [&LOADTEST].into_iter())?;
    loadtest(Profile::Release)
}

fn compile(profile: Profile, packages: &[&str]) -> Result<()> {
    if std::env::consts::OS != "linux" {
        bail!(
            "the images contain Linux programs, and this machine runs {}: build them with the Dockerfile, \
             `docker build --target app_a --tag app-a:TAG .` and so on, with the tags of {}",
            std::env::consts::OS,
            tags::tags_files()[0].display()
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
            command.args(packages.iter().flat_map(|package| ["--package", package]));
            progress::run(flags::set(&mut command)?).map(drop)
        },
    )
}

fn write(profile: Profile, mut images: impl Iterator<Item = &'static Image>) -> Result<()> {
    progress::step("write the images", || {
        images.try_for_each(|image| image.write(profile))
    })
}

/// The program of the load generator that [`build`] compiles. Its image contains the same file.
pub(crate) fn loadtest(profile: Profile) -> Result<PathBuf> {
    Ok(programs(profile)?.join(LOADTEST.program))
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
