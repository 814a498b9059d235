//! Signatures and lists of crates, with a key that the test makes, and without a network.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;
use testbed::components;

use crate::push::{push, reference};
use crate::registry::{Registry, crane};

fn cosign(arguments: &[&str]) -> Command {
    let mut command = Command::new(components::COSIGN.path());
    // The keys of the tests have no password.
    command.args(arguments).env("COSIGN_PASSWORD", "");
    command
}

/// A pair of keys: the paths of the private and of the public one.
struct Keys(PathBuf);

impl Keys {
    fn make(folder: &Path, name: &str) -> Result<Self> {
        let prefix = folder.join(name);
        let option = format!("--output-key-prefix={}", prefix.display());
        e2e::succeed(&mut cosign(&["generate-key-pair", &option]))?;
        Ok(Self(prefix))
    }

    fn private(&self) -> String {
        format!("{}.key", self.0.display())
    }

    /// A command of cosign that verifies `reference`, as docs/images.md shows it.
    fn verify(&self, command: &[&str], reference: &str) -> Result<String> {
        let key = format!("--key={}.pub", self.0.display());
        e2e::succeed(cosign(command).args([&key, "--insecure-ignore-tlog", reference]))
    }
}

/// Pushes and signs the images.
fn push_signed(keys: &Keys) -> Result<()> {
    let mut push = push(&Registry::name());
    push.args(["--sign", &keys.private()]).env("COSIGN_PASSWORD", "");
    e2e::succeed(&mut push).map(drop)
}

/// Expects that a verification fails, and that the reason is this one.
fn rejected(outcome: Result<String>, reason: &str) {
    let error = format!("{:#}", outcome.expect_err("a verification succeeded"));
    assert!(error.contains(reason), "{error}");
}

#[test]
fn only_the_signed_image_and_the_key_that_signed_it_pass() {
    let registry = Registry::start().unwrap();
    let keys = Keys::make(registry.folder(), "signer").unwrap();
    push_signed(&keys).unwrap();
    let signed = reference("app-a").unwrap();
    keys.verify(&["verify"], &signed).unwrap();

    let other = Keys::make(registry.folder(), "other").unwrap();
    rejected(other.verify(&["verify"], &signed), "no matching");

    // An image that differs in one label.
    let changed = crane(&["mutate", &signed, "--label=changed=yes"]).unwrap();
    let changed = changed.trim();
    rejected(keys.verify(&["verify"], changed), "no signatures found");

    // The same with the signature of the first image attached.
    let attachments = |reference: &str| reference.replace("@sha256:", ":sha256-");
    crane(&["copy", &attachments(&signed), &attachments(changed)]).unwrap();
    rejected(keys.verify(&["verify"], changed), "no matching");
    keys.verify(&["verify"], &signed).unwrap();
}

#[test]
fn the_signed_list_of_crates_names_the_libraries_of_the_program() {
    let registry = Registry::start().unwrap();
    let keys = Keys::make(registry.folder(), "signer").unwrap();
    push_signed(&keys).unwrap();
    let list = attested(&keys, &reference("app-a").unwrap()).unwrap();
    assert_eq!(list["bomFormat"], "CycloneDX");
    for name in ["axum", "tokio", "service"] {
        let version = locked_version(name).unwrap();
        let components = list["components"].as_array().unwrap();
        let found = components
            .iter()
            .find(|component| component["name"] == name)
            .unwrap_or_else(|| panic!("no {name} in {list}"));
        assert_eq!(found["version"], version, "{name}");
    }
}

/// The list of crates that is attached to an image, after a verification of its signature.
fn attested(keys: &Keys, reference: &str) -> Result<Value> {
    let printed = keys.verify(&["verify-attestation", "--type=cyclonedx"], reference)?;
    let envelope: Value = serde_json::from_str(printed.trim())?;
    let payload = envelope["payload"].as_str().context("no payload")?;
    let statement: Value = serde_json::from_slice(&base64(payload)?)?;
    Ok(statement["predicate"].clone())
}

/// Decodes base64 with the tool of the system.
fn base64(text: &str) -> Result<Vec<u8>> {
    let mut file = tempfile::NamedTempFile::new()?;
    std::io::Write::write_all(&mut file, text.as_bytes())?;
    let decoded = e2e::succeed(Command::new("base64").arg("--decode").arg(file.path()))?;
    Ok(decoded.into_bytes())
}

/// The version of a crate in Cargo.lock.
fn locked_version(name: &str) -> Result<String> {
    let lock = std::fs::read_to_string(testbed::paths::workspace().join("Cargo.lock"))?;
    let (_, rest) = lock
        .split_once(&format!("name = \"{name}\"\nversion = \""))
        .with_context(|| format!("no {name} in Cargo.lock"))?;
    Ok(rest.split('"').next().unwrap_or_default().to_owned())
}
