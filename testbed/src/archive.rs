//! Container images without Docker: archives that `docker load` and `ctr images import` take.
//! Format: the "docker-archive" of `docker save`, <https://github.com/moby/docker-image-spec> (v1.2), one layer.
//! The same files give the same bytes: no clock, no owner of this machine, nothing random goes in.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::tools::hex;

/// The archive's file that says what image it holds.
const MANIFEST: &str = "manifest.json";

/// What lies at a path of the image.
#[derive(Clone, Debug)]
pub enum Content {
    /// A copy of a file of this machine.
    File(PathBuf),
    /// A small file with this text.
    Text(String),
    /// A symbolic link to this path of the image.
    Link(String),
    /// A folder; folders above a file need no entry.
    Directory,
}

/// One path of the image's only layer.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Absolute path in the image.
    pub path: String,
    /// What is there.
    pub content: Content,
    /// Permission bits.
    pub mode: u32,
    /// Owner; the group has the same number.
    pub user: u64,
    /// Whether the program may listen on ports below 1024 whoever runs it (`setcap cap_net_bind_service=+ep`).
    pub binds_low_ports: bool,
}

/// `cap_net_bind_service=+ep` as the kernel stores it in `security.capability` (linux/capability.h, revision 2):
/// revision and "effective", then permitted and inheritable, low and high words.
const BINDS_LOW_PORTS: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

impl Entry {
    /// A program that everyone may run, owned by root.
    pub fn program(path: impl Into<String>, source: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            content: Content::File(source.into()),
            mode: 0o755,
            user: 0,
            binds_low_ports: false,
        }
    }

    /// A folder that belongs to `user`.
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

/// How the image's process starts, as in a Dockerfile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `ENTRYPOINT`
    pub entrypoint: Vec<String>,
    /// `CMD`
    pub command: Vec<String>,
    /// `USER`; empty is root.
    pub user: String,
    /// `WORKDIR`
    pub working_directory: String,
    /// `ENV`, as `NAME=value`.
    pub environment: Vec<String>,
}

/// Writes the image `reference` to `archive`, which appears only when it is whole.
///
/// # Errors
/// When a file cannot be read, or the archive cannot be written.
pub fn write(archive: &Path, reference: &str, config: &Config, entries: &[Entry]) -> Result<()> {
    let folder = archive.parent().context("an archive lies in a folder")?;
    fs::create_dir_all(folder)?;
    let layer = tempfile::NamedTempFile::new_in(folder)?;
    write_layer(layer.as_file(), entries).with_context(|| format!("layer of {reference}"))?;
    let layer_digest = digest(layer.path())?;

    let image = serde_json::json!({
        "architecture": go_architecture(),
        "os": "linux",
        "config": {
            "Entrypoint": config.entrypoint,
            "Cmd": config.command,
            "User": config.user,
            "WorkingDir": config.working_directory,
            "Env": config.environment,
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer_digest}")] },
    });
    let image = serde_json::to_vec(&image)?;
    let image_name = format!("{}.json", hex(&Sha256::digest(&image)));
    let layer_name = format!("{layer_digest}/layer.tar");
    let manifest = serde_json::json!([
        { "Config": image_name, "RepoTags": [reference], "Layers": [layer_name] },
    ]);

    let whole = tempfile::NamedTempFile::new_in(folder)?;
    let mut tar = tar::Builder::new(whole.as_file());
    append(&mut tar, &image_name, 0o644, 0, &image)?;
    let mut header = header(0o644, 0, layer.as_file().metadata()?.len());
    tar.append_data(&mut header, &layer_name, File::open(layer.path())?)?;
    append(&mut tar, MANIFEST, 0o644, 0, &serde_json::to_vec(&manifest)?)?;
    tar.finish()?;
    drop(tar);
    whole.persist(archive)?;
    Ok(())
}

/// The image that `archive` holds, as [`write`] was told.
///
/// # Errors
/// When it cannot be read, or is not such an archive.
pub fn reference(archive: &Path) -> Result<String> {
    let read = || -> Result<Option<String>> {
        for entry in tar::Archive::new(File::open(archive)?).entries()? {
            let entry = entry?;
            if entry.path()?.as_os_str() == MANIFEST {
                let manifest: serde_json::Value = serde_json::from_reader(entry)?;
                return Ok(manifest[0]["RepoTags"][0].as_str().map(str::to_owned));
            }
        }
        Ok(None)
    };
    let reference = read().with_context(|| archive.display().to_string())?;
    reference.with_context(|| format!("{} names no image", archive.display()))
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

/// This machine's architecture, as image configurations name it.
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
    fn an_archive_names_its_image_and_its_process_and_is_the_same_each_time() {
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
}
