//! Pushes the images to a registry, as OCI images, and records what was pushed.
//!
//! The client is `crane`. It reads the credentials of `docker login`, so whatever logs Docker in also logs this command in.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use testbed::{archive, components, paths, progress};

use super::image::{Image, Profile, all, folder};
use super::registry::Registry;
use super::sign;
use crate::revision;

/// The file in the folder of the archives that records the last push.
const RECORD: &str = "pushed.json";

/// Pushes the archives of all images, prints their references by digest, and writes `pushed.json`. Returns the path of this file.
///
/// An image is pushed by its digest. Then it gets the tag that the manifests name, unless another image has this tag: the tag is a hash
/// of the source, and the image has more than that, such as the label with the commit.
///
/// # Errors
/// When the registry cannot be reached, or refuses an image or a tag: the message says what to do.
pub(crate) fn push(registry: Registry<'_>, profile: Profile) -> Result<PathBuf> {
    components::build(&[components::CRANE])?;
    if registry.key.is_some() {
        sign::prepare(profile)?;
    }
    let path = folder(profile).join(RECORD);
    // Of an earlier push: this one may fail.
    let _ = fs::remove_file(&path);
    let mut pushed = Vec::new();
    for image in all() {
        let digest = progress::step(&format!("push {} to {}", image.name, registry.address), || {
            registry.push(image, &image.archive(profile))
        })?;
        if let Some(key) = registry.key {
            sign::sign(registry, key, image, &registry.by_digest(image, &digest), profile)?;
        }
        pushed.push(json!({
            "name": image.name,
            "reference": registry.by_digest(image, &digest),
            "digest": digest,
            "tag": image.tag()?,
            "revision": image.revision()?,
        }));
    }
    let record = json!({
        // Without files: the commit of the whole source.
        "revision": revision::of(&paths::workspace(), &[]),
        "registry": registry.address,
        "images": pushed,
    });
    fs::write(&path, serde_json::to_string_pretty(&record)? + "\n")
        .with_context(|| path.display().to_string())?;
    for image in &pushed {
        println!("{}", image["reference"].as_str().unwrap_or_default());
    }
    println!("{}", path.display());
    Ok(path)
}

impl Registry<'_> {
    /// Pushes one image and its tag. Returns the digest of the image.
    fn push(self, image: &Image, archive: &Path) -> Result<String> {
        let digest = archive::image_digest(archive)?;
        let by_digest = self.by_digest(image, &digest);
        let layout = tempfile::tempdir_in(paths::target())?;
        archive::unpack(archive, layout.path())?;
        let layout = layout.path().display().to_string();
        let printed = self.crane(image.name, &["push", &layout, &by_digest])?;
        // The registry would refuse content with another digest, and so would whoever pulls it.
        ensure!(
            printed.trim() == by_digest,
            "crane pushed {} instead of {by_digest}",
            printed.trim()
        );
        let tag = image.tag()?;
        let by_tag = format!("{}/{}:{tag}", self.address, image.name);
        match self.digest_of(image, &by_tag)? {
            None => self.crane(image.name, &["tag", &by_digest, &tag]).map(drop)?,
            Some(present) if present == digest => {}
            Some(present) => eprintln!(
                "warning: {by_tag} is already another image, {present}: of the same source, but built by another compiler, in another \
                 profile, with another IMAGE_SOURCE, or from another commit. The tag stays at that image. Deploy {by_digest}, which \
                 is pushed"
            ),
        }
        Ok(digest)
    }

    /// The digest of the image with this reference, if the registry has it.
    fn digest_of(self, image: &Image, reference: &str) -> Result<Option<String>> {
        match self.crane(image.name, &["digest", reference]) {
            Ok(digest) => Ok(Some(digest.trim().to_owned())),
            Err(error) if is_missing(&format!("{error:#}")) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Whether a registry that answers so does not have the manifest (OCI Distribution Specification 1.1, "Error Codes").
fn is_missing(printed: &str) -> bool {
    ["MANIFEST_UNKNOWN", "unexpected status code 404"]
        .iter()
        .any(|code| printed.contains(code))
}

#[test]
fn only_an_absent_manifest_is_missing() {
    assert!(!is_missing(
        "GET https://r.io/v2/app-a/manifests/2: UNAUTHORIZED: authentication required"
    ));
    assert!(is_missing(
        "GET https://r.io/v2/app-a/manifests/2: MANIFEST_UNKNOWN: manifest unknown"
    ));
}
