//! The stage build: from a commit to images that were tested and pushed.

use std::fs;

use anyhow::{Context as _, Result};
use testbed::{cluster, paths, progress, registry as testbed_registry};

use super::options::Options;
use super::outcome::refused;
use super::release::Release;
use super::stage::Stage;
use super::{source, time};
use crate::images::{self, Registry};

/// Builds the images, starts and asks each, pushes them, and writes the release file.
///
/// # Errors
/// Refuses a source that is not a commit, or that changes during the build. When a step fails: the message contains the end of its output.
pub(super) fn run(options: &Options) -> Result<()> {
    let revision = source::commit(&paths::workspace())?;
    // The manifests of this commit must name the images of this commit.
    images::check_tags().map_err(|error| refused(format!("{error:#}")))?;
    let path = options.release_file();
    // Of an earlier build: this one may fail.
    let _ = fs::remove_file(&path);
    let own = testbed_registry::name();
    let registry = Registry {
        address: options.registry.as_deref().unwrap_or(&own),
        insecure: options.insecure,
        key: options.sign.as_deref(),
    };
    registry.check()?;
    let profile = options.profile();
    images::build(profile)?;
    images::check(profile)?;
    unchanged(&revision, &source::commit(&paths::workspace())?)?;
    if options.registry.is_none() {
        // After the build, so that an error in the source shows before the long build of Kubernetes.
        cluster::up(None)?;
        testbed_registry::start()?;
    }
    let record = images::push(registry, profile)?;
    let record = fs::read_to_string(&record).with_context(|| record.display().to_string())?;
    let mut release = Release::of(&revision, &serde_json::from_str(&record)?)?;
    release.pass(Stage::Build, time::seconds());
    progress::step(&format!("write {}", path.display()), || release.write(&path))?;
    println!("built {}: {}", release.version, path.display());
    Ok(())
}

/// Compares the commits before and after the build, which reads the files of the source at an unknown time.
fn unchanged(before: &str, after: &str) -> Result<()> {
    if before == after {
        return Ok(());
    }
    Err(refused(format!(
        "the source was the commit {before} before the build and is {after} after it, so the images may be of either: build again, and \
         leave the source alone meanwhile"
    )))
}

#[test]
fn a_commit_during_the_build_is_refused() {
    unchanged("a", "a").unwrap();
    let error = unchanged("a", "b").unwrap_err();
    assert_eq!(super::outcome::exit_code(&error), 3, "{error:#}");
}
