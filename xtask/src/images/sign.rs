//! Signs pushed images with `cosign`, attaches their lists of crates, signed too, and verifies signatures.
//!
//! It uses a key, and neither the certificates nor the transparency log of sigstore.dev, so it needs no network but the registry's.

use std::process::Command;

use anyhow::{Result, ensure};
use testbed::{components, progress};

use super::crane;
use super::image::{Image, Profile};
use super::registry::Registry;
use super::sbom;

/// Without the services of sigstore.dev, and without a question.
const OFFLINE: [&str; 3] = ["--use-signing-config=false", "--tlog-upload=false", "--yes"];

/// Prepares the signatures: builds cosign, and writes the lists of crates.
///
/// # Errors
/// When a program cannot be built, or fails.
pub(super) fn prepare(profile: Profile) -> Result<()> {
    components::build(&[components::COSIGN])?;
    sbom::write(profile)
}

/// Signs the image `reference`, and attaches its list of crates.
///
/// # Errors
/// When the key cannot be read, or the registry refuses the signature: the message contains the output of cosign.
pub(super) fn sign(
    registry: Registry<'_>,
    key: &str,
    image: &Image,
    reference: &str,
    profile: Profile,
) -> Result<()> {
    progress::step(&format!("sign {}", image.name), || {
        cosign(registry, key, &["sign"], reference)?;
        let list = sbom::path(image, profile).display().to_string();
        cosign(
            registry,
            key,
            &["attest", "--type=cyclonedx", "--predicate", &list],
            reference,
        )
    })
}

impl Registry<'_> {
    /// Checks that the image `reference` is signed by a key: a file with the public key, or the address of a key management service.
    ///
    /// # Errors
    /// When no signature of the image is by this key, or the key or the registry cannot be read: the message contains the output of
    /// cosign.
    pub(crate) fn verify(self, key: &str, reference: &str) -> Result<()> {
        components::build(&[components::COSIGN])?;
        // What is ignored is the log, not the signature.
        run(self, key, &["verify", "--insecure-ignore-tlog"], reference)
    }
}

fn cosign(registry: Registry<'_>, key: &str, arguments: &[&str], reference: &str) -> Result<()> {
    run(registry, key, &[arguments, &OFFLINE].concat(), reference)
}

fn run(registry: Registry<'_>, key: &str, arguments: &[&str], reference: &str) -> Result<()> {
    let mut command = Command::new(components::COSIGN.path());
    command
        .args(arguments)
        .args(["--key", key])
        .args(registry.insecure.then_some("--allow-http-registry"))
        .args(registry.insecure.then_some("--allow-insecure-registry"))
        .arg(reference);
    let output = crane::output(&mut command)?;
    ensure!(
        output.status.success(),
        "cosign {} {reference}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
