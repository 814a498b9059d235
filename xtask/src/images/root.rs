//! An image unpacked into a folder, and its process with this folder as the root of its files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;
use testbed::{archive, progress};

/// The files of an image, and how its process starts.
pub(super) struct Root {
    files: PathBuf,
    config: Value,
}

impl Root {
    /// Unpacks an archive into an empty folder.
    pub(super) fn unpack(archive: &Path, folder: &Path) -> Result<Self> {
        let (layout, files) = (folder.join("layout"), folder.join("files"));
        for new in [&layout, &files] {
            fs::create_dir_all(new)?;
        }
        archive::unpack(archive, &layout)?;
        let index = json(&layout.join("index.json"))?;
        let manifest = json(&blob(&layout, &index["manifests"][0])?)?;
        let config = json(&blob(&layout, &manifest["config"])?)?["config"].take();
        for layer in manifest["layers"].as_array().context("no layers")? {
            let mut tar = Command::new("tar");
            tar.args(["--extract", "--no-same-owner", "--file"])
                .arg(blob(&layout, layer)?)
                .arg("--directory")
                .arg(&files);
            progress::run(&mut tar)?;
        }
        Ok(Self { files, config })
    }

    /// The process of the image: its entrypoint and environment, as its user, with only its files. The kernel kills it when this process
    /// exits. The network is that of this machine.
    ///
    /// The user exists in a user namespace: without root, no other user of the machine can be chosen.
    pub(super) fn command(&self) -> Result<Command> {
        let user = self.config["User"].as_str().context("no user")?;
        let (user, group) = user.split_once(':').context("the user has no group")?;
        let folder = self.config["WorkingDir"].as_str().unwrap_or("/");
        let mut command = progress::bound_to_this_process("unshare");
        command
            .args(["--user", "--map-user", user, "--map-group", group, "--root"])
            .arg(&self.files)
            .args(["--wd", folder, "--"])
            .args(texts(&self.config["Entrypoint"]))
            .env_clear();
        for variable in texts(&self.config["Env"]) {
            let (name, value) = variable.split_once('=').context("a variable without a value")?;
            command.env(name, value);
        }
        // The programs `setpriv` and `unshare` themselves are found in the PATH of the image, which is the usual one.
        Ok(command)
    }
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(Value::as_str)
}

/// The file that a descriptor names.
fn blob(layout: &Path, descriptor: &Value) -> Result<PathBuf> {
    let digest = descriptor["digest"]
        .as_str()
        .context("a descriptor without a digest")?;
    Ok(layout.join("blobs").join(digest.replace(':', "/")))
}

fn json(path: &Path) -> Result<Value> {
    let text = fs::read(path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&text).with_context(|| path.display().to_string())
}
