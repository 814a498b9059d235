//! The images of a release, in the registry that the nodes of the cluster pull from.

use std::collections::BTreeMap;

use anyhow::Result;
use testbed::{components, progress};

use super::outcome::refused;
use super::release::{Release, split};
use crate::images::Registry;

/// Checks that the registry has every image of the release.
///
/// # Errors
/// Refuses a release with a missing image.
pub(super) fn check(release: &Release, insecure: bool) -> Result<()> {
    components::build(&[components::CRANE])?;
    progress::step(&format!("find the images in {}", release.registry), || {
        release.images.iter().try_for_each(|(name, reference)| {
            let found = of(release, insecure).crane(name, &["manifest", reference]);
            found.map(drop).map_err(|error| {
                refused(format!(
                    "{reference} cannot be read: check the address and the credentials of the registry, or push the images again with \
                     `--stage build`. The registry of the testbed stops with its cluster\n{error:#}"
                ))
            })
        })
    })
}

/// Checks that every image of the release is signed by a key: a file with the public key, or the address of a key management service.
///
/// # Errors
/// Refuses a release with an image that is not signed by it.
pub(super) fn check_signatures(release: &Release, key: &str, insecure: bool) -> Result<()> {
    progress::step(&format!("verify the signatures by {key}"), || {
        release.images.values().try_for_each(|reference| {
            of(release, insecure).verify(key, reference).map_err(|error| {
                refused(format!(
                    "{reference} is not signed by the key of {key}: build the release with `--stage build --sign KEY`, with the private \
                     key that belongs to it\n{error:#}"
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
                of(release, insecure).crane(name, &["copy", reference, &target])?;
                Ok((name.clone(), target))
            });
            copied.collect()
        },
    )
}

/// The registry that the release was pushed to.
fn of(release: &Release, insecure: bool) -> Registry<'_> {
    Registry {
        address: &release.registry,
        insecure,
        key: None,
    }
}
