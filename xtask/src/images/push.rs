//! Pushes the images to a registry, as OCI images, and records what was pushed.
//!
//! The client is `crane`. It reads the credentials of `docker login`, so whatever logs Docker in also logs this command in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
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
/// An image is pushed by its digest. Then it gets the tag that the manifests name, unless another image has this tag.
///
/// # Errors
/// When the registry cannot be reached, or refuses an image or a tag: the message says what to do.
pub(super) fn push(registry: Registry<'_>, profile: Profile) -> Result<PathBuf> {
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
        let printed = self.crane(image, &["push", &layout, &by_digest])?;
        // The registry would refuse content with another digest, and so would whoever pulls it.
        ensure!(
            printed.trim() == by_digest,
            "crane pushed {} instead of {by_digest}",
            printed.trim()
        );
        let tag = image.tag()?;
        let by_tag = format!("{}/{}:{tag}", self.address, image.name);
        match self.digest_of(image, &by_tag)? {
            None => self.crane(image, &["tag", &by_digest, &tag]).map(drop)?,
            Some(present) if present == digest => {}
            Some(present) => bail!(
                "{by_tag} is already another image, {present}: of the same source, but built by another compiler, in another \
                 profile, with another IMAGE_SOURCE, or from another commit. Deploy {by_digest}, which is pushed, or delete the \
                 tag in the registry"
            ),
        }
        Ok(digest)
    }

    /// The digest of the image with this reference, if the registry has it.
    fn digest_of(self, image: &Image, reference: &str) -> Result<Option<String>> {
        match self.crane(image, &["digest", reference]) {
            Ok(digest) => Ok(Some(digest.trim().to_owned())),
            Err(error) if is_missing(&format!("{error:#}")) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Runs crane, and returns its standard output.
    fn crane(self, image: &Image, arguments: &[&str]) -> Result<String> {
        let output = Command::new(components::CRANE.path())
            .args(arguments)
            .args(self.insecure.then_some("--insecure"))
            .stdin(Stdio::null())
            .output()
            .context("cannot run crane")?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let printed = String::from_utf8_lossy(&output.stderr);
        let printed = error_line(&printed);
        match advice(printed, self.address, image.name) {
            Some(advice) => bail!("{advice}\ncrane {}: {printed}", arguments.join(" ")),
            None => bail!("crane {}: {printed}", arguments.join(" ")),
        }
    }
}

/// The error in the output of crane. Before it, there is the progress.
fn error_line(printed: &str) -> &str {
    let mut lines = printed.lines().rev();
    let error = lines.find_map(|line| line.strip_prefix("Error: "));
    error.unwrap_or(printed).trim()
}

/// Whether a registry that answers so does not have the manifest (OCI Distribution Specification 1.1, "Error Codes").
fn is_missing(printed: &str) -> bool {
    ["MANIFEST_UNKNOWN", "unexpected status code 404"]
        .iter()
        .any(|code| printed.contains(code))
}

/// What to do after an error of crane.
fn advice(printed: &str, registry: &str, repository: &str) -> Option<String> {
    let host = registry.split('/').next().unwrap_or(registry);
    let has = |texts: &[&str]| texts.iter().any(|text| printed.contains(text));
    if has(&[
        "UNAUTHORIZED",
        "DENIED",
        "status code 401",
        "status code 403",
        "no basic auth credentials",
    ]) {
        Some(format!(
            "{host} does not accept the credentials for {repository}: log in with `docker login {host}` or `crane auth login {host}`, \
             and check that this account may push"
        ))
    } else if has(&["NAME_UNKNOWN", "NAME_INVALID"]) {
        Some(format!(
            "{registry} has no repository {repository}, and does not create one: create it first"
        ))
    } else if has(&["TAG_INVALID", "ImageTagAlreadyExists", "immutable"]) {
        Some(format!(
            "the tags of {repository} are immutable, and this one is another image: deploy the image by its digest"
        ))
    } else if has(&["server gave HTTP response to HTTPS client", "x509:", "tls:"]) {
        Some(format!(
            "the connection to {host} has no TLS that this machine trusts: `--insecure` allows that, for a registry of your own"
        ))
    } else if has(&[
        "connection refused",
        "no such host",
        "i/o timeout",
        "no route to host",
        "network is unreachable",
    ]) {
        Some(format!(
            "{host} cannot be reached: check the address, and that the registry runs"
        ))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_crane_is_its_last_line() {
        let printed = "2026/11/30 17:03:11 HEAD request failed, falling back on GET: unexpected status code 404 Not Found\n\
                       Error: GET https://r.io/v2/app-a/manifests/2: UNAUTHORIZED: authentication required\n";
        let error = error_line(printed);
        assert!(error.starts_with("GET https://r.io"), "{error}");
        assert!(!is_missing(error));
        assert!(is_missing(
            "GET https://r.io/v2/app-a/manifests/2: MANIFEST_UNKNOWN: manifest unknown"
        ));
    }

    #[test]
    fn each_kind_of_error_has_an_advice() {
        for (printed, expected) in [
            (
                "PUT https://r.io/v2/app-a/manifests/1: UNAUTHORIZED: authentication required",
                "docker login r.io",
            ),
            (
                "POST https://r.io/v2/app-a/blobs/uploads/: NAME_UNKNOWN: The repository with name 'app-a' does not exist",
                "create it first",
            ),
            (
                "PUT https://r.io/v2/app-a/manifests/1: TAG_INVALID: The image tag '1' already exists in the 'app-a' repository \
                 and cannot be overwritten because the repository is immutable.",
                "by its digest",
            ),
            (
                "Get \"https://r.io/v2/\": dial tcp 192.0.2.1:443: connect: connection refused",
                "cannot be reached",
            ),
            (
                "Get \"https://r.io/v2/\": http: server gave HTTP response to HTTPS client",
                "--insecure",
            ),
        ] {
            let advice = advice(printed, "r.io/team", "app-a").unwrap_or_default();
            assert!(advice.contains(expected), "{printed}: {advice}");
        }
        assert_eq!(advice("unexpected EOF", "r.io", "app-a"), None);
    }
}
