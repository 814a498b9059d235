//! The stage build: from a commit to images that were tested and pushed.

use std::fs;

use anyhow::{Context as _, Result};
use testbed::{cluster, paths, progress, registry};

use super::options::Options;
use super::outcome::refused;
use super::release::Release;
use super::stage::Stage;
use super::{source, time};
use crate::images::{self, Push};

/// Builds the images, starts and asks each, pushes them, and writes the release file.
///
/// # Errors
/// Refuses a source that is not a commit. When a step fails: the message contains the end of its output.
pub(super) fn run(options: &Options) -> Result<()> {
    let revision = source::commit(&paths::workspace())?;
    // The manifests of this commit must name the images of this commit.
    images::check_tags().map_err(|error| refused(format!("{error:#}")))?;
    let path = options.release_file();
    // Of an earlier build: this one may fail.
    let _ = fs::remove_file(&path);
    let own = registry::name();
    let push = Push {
        registry: options.registry.as_deref().unwrap_or(&own),
        insecure: options.insecure,
        sign: options.sign.as_deref(),
    };
    push.check()?;
    let profile = options.profile();
    images::build(profile)?;
    images::check(profile)?;
    if options.registry.is_none() {
        // After the build, so that an error in the source shows before the long build of Kubernetes.
        cluster::up(None)?;
        registry::start()?;
    }
    let record = push.push(profile)?;
    let record = fs::read_to_string(&record).with_context(|| record.display().to_string())?;
    let mut release = Release::of(&revision, &serde_json::from_str(&record)?)?;
    release.pass(Stage::Build, time::seconds());
    progress::step(&format!("write {}", path.display()), || release.write(&path))?;
    println!("built {}: {}", release.version, path.display());
    Ok(())
}
