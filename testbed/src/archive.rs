//! Writes container images without Docker, as archives for `docker load` and `ctr images import`.
//!
//! The format is the "docker-archive" of `docker save`, <https://github.com/moby/docker-image-spec> (v1.2), with one
//! layer. The same files give the same bytes: an archive contains no time, no user of this machine, and nothing random.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::components::hex;

/// The variable that Docker adds to the environment of every image that it builds.
pub const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The file in an archive that lists its images.
const MANIFEST: &str = "manifest.json";

/// The content of one path of the image.
#[derive(Clone, Debug)]
pub enum Content {
    /// A copy of a file on this machine.
    File(PathBuf),
    /// A small file with this text.
    Text(String),
    /// A symbolic link to this path in the image.
    Link(String),
    /// A folder. The folders above a file need no entry of their own.
    Directory,
}

/// One path in the only layer of the image.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The absolute path in the image.
    pub path: String,
    /// The content of the path.
    pub content: Content,
    /// The permission bits.
    pub mode: u32,
    /// The user ID of the owner. The group ID is the same number.
    pub user: u64,
    /// Whether every user may listen on ports below 1024 with the program (`setcap cap_net_bind_service=+ep`).
    pub binds_low_ports: bool,
}

/// The value of the attribute `security.capability` for `cap_net_bind_service=+ep` (linux/capability.h, revision 2):
/// the revision with the flag "effective", then the low and high words of "permitted" and "inheritable".
const BINDS_LOW_PORTS: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

impl Entry {
    /// A program of root that every user may run.
    pub fn program(path: impl Into<String>, source: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            content: Content::File(source.into()),
            mode: 0o755,
            user: 0,
            binds_low_ports: false,
        }
    }

    /// A folder of `user`.
    pub fn directory(path: impl Into<String>, mode: u32, user: u64) -> Self {
        Self {
            path: path.into(),
            content: Content::Directory,
            mode,
            user,
            binds_low_ports: false,
        }
    }
}

/// How the process of the image starts. Each field is an instruction of a Dockerfile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `ENTRYPOINT`
    pub entrypoint: Vec<String>,
    /// `CMD`
    pub command: Vec<String>,
    /// `USER`. Empty means root.
    pub user: String,
    /// `WORKDIR`
    pub working_directory: String,
    /// `ENV`, each as `NAME=value`.
    pub environment: Vec<String>,
    /// `EXPOSE`: TCP ports.
    pub ports: Vec<u16>,
    /// `HEALTHCHECK`
    pub health_check: Option<HealthCheck>,
}

/// How Docker checks a running container. Kubernetes ignores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The program and its arguments, run without a shell.
    pub command: Vec<String>,
    /// The time between two checks.
    pub interval: Duration,
    /// The time after which a check fails.
    pub timeout: Duration,
    /// The time after the start during which failures do not count.
    pub start_period: Duration,
    /// The number of failures in a row that make a container unhealthy.
    pub retries: u32,
}

impl Config {
    /// The `config` object of an image, in the format of Docker. Instructions that the image does not use are left out.
    fn to_json(&self) -> serde_json::Value {
        let mut json = serde_json::json!({
            "Entrypoint": self.entrypoint,
            "Cmd": self.command,
            "User": self.user,
            "WorkingDir": self.working_directory,
            "Env": self.environment,
        });
        if !self.ports.is_empty() {
            let ports = self
                .ports
                .iter()
                .map(|port| (format!("{port}/tcp"), serde_json::json!({})));
            json["ExposedPorts"] = ports.collect::<serde_json::Map<_, _>>().into();
        }
        if let Some(check) = &self.health_check {
            let test: Vec<_> = ["CMD"]
                .into_iter()
                .chain(check.command.iter().map(String::as_str))
                .collect();
            // Durations are whole nanoseconds. None of them is longer than 2^64 ns.
            let nanoseconds = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
            json["Healthcheck"] = serde_json::json!({
                "Test": test,
                "Interval": nanoseconds(check.interval),
                "Timeout": nanoseconds(check.timeout),
                "StartPeriod": nanoseconds(check.start_period),
                "Retries": check.retries,
            });
        }
        json
    }
}

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
    write_layer(layer.as_file(), entries).with_context(|| format!("layer of {reference}"))?;
    let layer_digest = digest(layer.path())?;

    let image = serde_json::json!({
        "architecture": go_architecture(),
        "os": "linux",
        "config": config.to_json(),
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer_digest}")] },
    });
    let image = serde_json::to_vec(&image)?;
    let image_name = format!("{}.json", hex(&Sha256::digest(&image)));
    let layer_name = format!("{layer_digest}/layer.tar");
    let manifest = serde_json::json!([
        { "Config": image_name, "RepoTags": [reference], "Layers": [layer_name] },
    ]);

    let complete = tempfile::NamedTempFile::new_in(folder)?;
    let mut tar = tar::Builder::new(complete.as_file());
    append(&mut tar, &image_name, 0o644, 0, &image)?;
    let mut header = header(0o644, 0, layer.as_file().metadata()?.len());
    tar.append_data(&mut header, &layer_name, File::open(layer.path())?)?;
    append(&mut tar, MANIFEST, 0o644, 0, &serde_json::to_vec(&manifest)?)?;
    tar.finish()?;
    drop(tar);
    complete.persist(archive)?;
    Ok(())
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
    let manifest = read_manifest(archive).with_context(|| archive.display().to_string())?;
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

/// Reads the manifest. `null` when the archive has none.
fn read_manifest(archive: &Path) -> Result<serde_json::Value> {
    for entry in tar::Archive::new(File::open(archive)?).entries_with_seek()? {
        let entry = entry?;
        if entry.path()?.as_os_str() == MANIFEST {
            return Ok(serde_json::from_reader(entry)?);
        }
    }
    Ok(serde_json::Value::Null)
}

fn write_layer(file: &File, entries: &[Entry]) -> Result<()> {
    let mut tar = tar::Builder::new(io::BufWriter::new(file));
    for entry in entries {
        let path = entry.path.trim_start_matches('/');
        match &entry.content {
            Content::File(source) => {
                let content = File::open(source).with_context(|| source.display().to_string())?;
                if entry.binds_low_ports {
                    let attribute = ("SCHILY.xattr.security.capability", BINDS_LOW_PORTS.as_slice());
                    tar.append_pax_extensions([attribute])?;
                }
                let mut header = header(entry.mode, entry.user, content.metadata()?.len());
                tar.append_data(&mut header, path, content)?;
            }
            Content::Text(text) => append(&mut tar, path, entry.mode, entry.user, text.as_bytes())?,
            Content::Link(target) => {
                let mut header = header(0o777, entry.user, 0);
                header.set_entry_type(tar::EntryType::Symlink);
                tar.append_link(&mut header, path, target)?;
            }
            Content::Directory => {
                let mut header = header(entry.mode, entry.user, 0);
                header.set_entry_type(tar::EntryType::Directory);
                tar.append_data(&mut header, format!("{path}/"), io::empty())?;
            }
        }
    }
    tar.finish()?;
    Ok(())
}

fn append<W: io::Write>(
    tar: &mut tar::Builder<W>,
    path: &str,
    mode: u32,
    user: u64,
    data: &[u8],
) -> io::Result<()> {
    tar.append_data(&mut header(mode, user, data.len() as u64), path, data)
}

fn header(mode: u32, user: u64, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_uid(user);
    header.set_gid(user);
    header.set_size(size);
    header.set_mtime(0);
    header
}

fn digest(path: &Path) -> Result<String> {
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
mod tests {
    use super::*;

    #[test]
    fn an_archive_contains_the_reference_config_and_owners_and_is_reproducible() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        fs::write(&program, "#!").unwrap();
        let config = Config {
            entrypoint: vec!["/program".into()],
            user: "65532:65532".into(),
            ..Config::default()
        };
        let entries = [
            Entry::program("/program", &program),
            Entry::directory("/data", 0o750, 65_532),
        ];
        let (first, second) = (folder.path().join("1.tar"), folder.path().join("2.tar"));
        write(&first, "app:1", &config, &entries).unwrap();
        write(&second, "app:1", &config, &entries).unwrap();
        assert_eq!(fs::read(&first).unwrap(), fs::read(&second).unwrap());

        let mut archive = tar::Archive::new(File::open(&first).unwrap());
        let mut texts = std::collections::HashMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            texts.insert(path, content);
        }
        let manifest: serde_json::Value = serde_json::from_slice(&texts["manifest.json"]).unwrap();
        assert_eq!(manifest[0]["RepoTags"][0], "app:1");
        assert_eq!(reference(&first).unwrap(), "app:1");
        let image: serde_json::Value =
            serde_json::from_slice(&texts[manifest[0]["Config"].as_str().unwrap()]).unwrap();
        assert_eq!(image["config"]["Entrypoint"][0], "/program");
        assert_eq!(image["config"]["User"], "65532:65532");
        let layer = &texts[manifest[0]["Layers"][0].as_str().unwrap()];
        let diff = format!("sha256:{}", hex(&Sha256::digest(layer)));
        assert_eq!(image["rootfs"]["diff_ids"][0], diff);
        let owners: Vec<_> = tar::Archive::new(layer.as_slice())
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().header().uid().unwrap())
            .collect();
        assert_eq!(owners, [0, 65_532]);
    }

    /// Writes an archive that contains only this manifest.
    fn archive_with(manifest: &serde_json::Value) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut tar = tar::Builder::new(file.as_file());
        append(&mut tar, MANIFEST, 0o644, 0, manifest.to_string().as_bytes()).unwrap();
        tar.finish().unwrap();
        drop(tar);
        file
    }

    #[test]
    fn all_references_of_an_archive_are_read() {
        let two = archive_with(&serde_json::json!([{ "RepoTags": ["a:1", "a:2"] }, { "RepoTags": ["b:1"] }]));
        assert_eq!(references(two.path()).unwrap(), ["a:1", "a:2", "b:1"]);
        let unnamed = archive_with(&serde_json::json!([{ "RepoTags": ["a:1"] }, { "RepoTags": null }]));
        assert!(references(unnamed.path()).unwrap().is_empty());
        assert!(reference(unnamed.path()).is_err());
        assert!(references(Path::new("/dev/null")).unwrap().is_empty());
    }
}
