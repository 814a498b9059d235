//! Writes container images without Docker, as archives for `docker load`, `ctr images import` and registries.
//!
//! An archive has two indexes of the same files, as one of `docker save` since Docker 25: it is an OCI image layout
//! (<https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md>), and a "docker-archive"
//! (<https://github.com/moby/docker-image-spec>, v1.2), which older versions of Docker read. The image has one layer. The same files
//! give the same bytes: an archive contains no time, no user of this machine, and nothing random.

mod config;
mod layer;

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::components::hex;
pub use config::{Config, HealthCheck};
pub use layer::{Content, Entry};
use layer::{append, header};

/// The variable that Docker adds to the environment of every image that it builds.
pub const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The index of a docker-archive.
const MANIFEST: &str = "manifest.json";

/// The index of an OCI image layout.
const INDEX: &str = "index.json";

/// The file that marks an OCI image layout.
const LAYOUT: &str = "oci-layout";

/// The folder of the files that both indexes name, one for each digest.
const BLOBS: &str = "blobs/sha256";

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";

/// Writes the image `reference` to the file `archive`.
///
/// The file appears only when it is complete.
///
/// # Errors
/// When a file cannot be read, or the archive cannot be written.
pub fn write(archive: &Path, reference: &str, config: &Config, entries: &[Entry]) -> Result<()> {
    let folder = archive
        .parent()
        .context("the path of the archive has no folder")?;
    fs::create_dir_all(folder)?;
    let layer = tempfile::NamedTempFile::new_in(folder)?;
    layer::write(layer.as_file(), entries).with_context(|| format!("layer of {reference}"))?;
    let layer_size = layer.as_file().metadata()?.len();
    let layer_digest = file_digest(layer.path())?;

    let image = serde_json::to_vec(&json!({
        "architecture": go_architecture(),
        "os": "linux",
        "config": config.to_json(),
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer_digest}")] },
    }))?;
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": descriptor(CONFIG_TYPE, &digest(&image), image.len() as u64),
        "layers": [descriptor(LAYER_TYPE, &layer_digest, layer_size)],
    }))?;
    let mut described = descriptor(MANIFEST_TYPE, &digest(&manifest), manifest.len() as u64);
    let (_, tag) = split_tag(reference);
    described["annotations"] = json!({
        // The name of the image after `ctr images import`.
        "io.containerd.image.name": normalized(reference),
        "org.opencontainers.image.ref.name": tag,
    });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [described],
    });
    let docker = json!([{
        "Config": blob(&digest(&image)),
        "RepoTags": [reference],
        "Layers": [blob(&layer_digest)],
    }]);

    let complete = tempfile::NamedTempFile::new_in(folder)?;
    let mut tar = tar::Builder::new(complete.as_file());
    for (path, content) in [
        (LAYOUT, br#"{"imageLayoutVersion":"1.0.0"}"#.as_slice()),
        (INDEX, &serde_json::to_vec(&index)?),
        (MANIFEST, &serde_json::to_vec(&docker)?),
        (&blob(&digest(&manifest)), &manifest),
        (&blob(&digest(&image)), &image),
    ] {
        append(&mut tar, path, 0o644, 0, content)?;
    }
    let mut header = header(0o644, 0, layer_size);
    tar.append_data(&mut header, blob(&layer_digest), File::open(layer.path())?)?;
    tar.finish()?;
    drop(tar);
    complete.persist(archive)?;
    Ok(())
}

/// The name of a file in an OCI image layout.
fn blob(digest: &str) -> String {
    format!("{BLOBS}/{digest}")
}

fn descriptor(media_type: &str, digest: &str, size: u64) -> Value {
    json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": size })
}

/// Reads the reference (name and tag) of the first image in `archive`.
///
/// # Errors
/// When the file cannot be read, is not an archive in this format, or contains an image without a reference.
pub fn reference(archive: &Path) -> Result<String> {
    let first = references(archive)?.into_iter().next();
    first.with_context(|| format!("{}: no image, or one without a reference", archive.display()))
}

/// Reads the references of all images in `archive`. Empty when the archive contains an image without a reference.
pub(crate) fn references(archive: &Path) -> Result<Vec<String>> {
    let manifest = read(archive, MANIFEST)?;
    let images = manifest.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut references = Vec::new();
    for image in images {
        let tags = image["RepoTags"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        if tags.is_empty() {
            return Ok(Vec::new());
        }
        references.extend(tags.iter().filter_map(|tag| tag.as_str().map(str::to_owned)));
    }
    Ok(references)
}

/// Reads the digest of the image in `archive`, as a registry computes it: `sha256:…`.
///
/// # Errors
/// When the file cannot be read, or is not an archive that [`write`] has written.
pub fn image_digest(archive: &Path) -> Result<String> {
    let index = read(archive, INDEX)?;
    let digest = index["manifests"][0]["digest"].as_str();
    let digest = digest.with_context(|| format!("{} contains no OCI image", archive.display()))?;
    Ok(digest.to_owned())
}

/// Unpacks the OCI image layout in `archive` into an empty folder.
///
/// # Errors
/// When the archive cannot be read, or a file cannot be written.
pub fn unpack(archive: &Path, folder: &Path) -> Result<()> {
    let unpack = || tar::Archive::new(File::open(archive)?).unpack(folder);
    unpack().with_context(|| format!("cannot unpack {}", archive.display()))
}

/// Reads an index of `archive`. `null` when the archive does not have it.
fn read(archive: &Path, name: &str) -> Result<Value> {
    let read = || -> Result<Value> {
        for entry in tar::Archive::new(File::open(archive)?).entries_with_seek()? {
            let entry = entry?;
            if entry.path()?.as_os_str() == name {
                return Ok(serde_json::from_reader(entry)?);
            }
        }
        Ok(Value::Null)
    };
    read().with_context(|| archive.display().to_string())
}

/// The reference as containerd stores it: with the registry, and with the folder `library` of Docker Hub.
pub(crate) fn normalized(reference: &str) -> String {
    match reference.split_once('/') {
        None => format!("docker.io/library/{reference}"),
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => reference.to_owned(),
        Some(_) => format!("docker.io/{reference}"),
    }
}

/// Splits a reference into the name and the tag.
fn split_tag(reference: &str) -> (&str, &str) {
    match reference.rsplit_once(':') {
        // A colon before the last slash belongs to the port of the registry.
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (reference, "latest"),
    }
}

fn digest(data: &[u8]) -> String {
    hex(&Sha256::digest(data))
}

fn file_digest(path: &Path) -> Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&buffer[..read]);
    }
}

/// The architecture of this machine, by its name in image configurations.
fn go_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests;
