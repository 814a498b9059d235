//! The images of a release, in the registry that the nodes of the cluster pull from.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use testbed::{components, progress};

use super::outcome::refused;
use super::release::{Release, split};

/// The deadline of a request to a registry, and of a copy of an image (the largest has 30 MB).
const REQUEST: Duration = Duration::from_mins(2);

/// Checks that the registry has every image of the release.
///
/// # Errors
/// Refuses a release with a missing image.
pub(super) fn check(release: &Release, insecure: bool) -> Result<()> {
    components::build(&[components::CRANE])?;
    progress::step(&format!("find the images in {}", release.registry), || {
        release.images.values().try_for_each(|reference| {
            crane(&["manifest", reference], insecure).map(drop).map_err(|error| {
                refused(format!(
                    "{reference} cannot be read: check the address and the credentials of the registry, or push the images again with \
                     `--stage build`. The registry of the testbed stops with its cluster\n{error:#}"
                ))
            })
        })
    })
}

/// Copies the images of the release to another registry. Returns their references there: the digests stay the same.
///
/// # Errors
/// When an image cannot be copied.
pub(super) fn copy(release: &Release, to: &str, insecure: bool) -> Result<BTreeMap<String, String>> {
    progress::step(
        &format!("copy the images from {} to {to}", release.registry),
        || {
            let copied = release.images.iter().map(|(name, reference)| {
                let digest = split(reference).map_or_else(String::new, |(_, digest)| digest.to_owned());
                let target = format!("{to}/{name}@{digest}");
                crane(&["copy", reference, &target], insecure)?;
                Ok((name.clone(), target))
            });
            copied.collect()
        },
    )
}

fn crane(arguments: &[&str], insecure: bool) -> Result<String> {
    let mut command = Command::new(components::CRANE.path());
    command.args(arguments).args(insecure.then_some("--insecure"));
    progress::run_within(REQUEST, &mut command)
}
