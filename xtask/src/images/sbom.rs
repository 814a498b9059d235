//! The list of the crates that a program is built from (a software bill of materials, SBOM), in the format `CycloneDX`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use testbed::{paths, progress};

use super::image::{Image, Profile, all, folder};
use crate::cargo;

/// The version of the format (<https://cyclonedx.org/specification/overview/>): the newest one that cargo-cyclonedx writes.
const SPECIFICATION: &str = "1.5";

/// The name of the files that cargo-cyclonedx writes, without the extension. `.gitignore` names them.
const NAME: &str = "sbom.cdx";

/// The path of the list of an image.
pub(super) fn path(image: &Image, profile: Profile) -> PathBuf {
    folder(profile).join(format!("{}.cdx.json", image.name))
}

/// Writes the list of each image, beside its archive.
///
/// # Errors
/// When cargo-cyclonedx cannot be installed, or fails.
pub(super) fn write(profile: Profile) -> Result<()> {
    let program = cargo::CYCLONEDX.install()?;
    progress::step("list the crates of the programs", || {
        let mut command = progress::bound_to_this_process(&program.to_string_lossy());
        command.current_dir(paths::workspace()).args([
            "cyclonedx",
            "--format=json",
            &format!("--spec-version={SPECIFICATION}"),
            &format!("--target={}", paths::host()?),
            &format!("--override-filename={NAME}"),
            // Build scripts and what they need are not in the programs.
            "--no-build-deps",
        ]);
        cargo::remove_package_variables(&mut command);
        let written = progress::run(&mut command).and_then(|_| {
            all().try_for_each(|image| {
                let list = paths::workspace().join(image.package).join(file());
                let text = fs::read_to_string(&list)
                    .with_context(|| format!("cargo-cyclonedx has not written {}", list.display()))?;
                // The identifiers of this project's crates contain the folder of the workspace, which nobody else has.
                let text = text.replace(&paths::workspace().display().to_string(), "/workspace");
                Ok(fs::write(path(image, profile), text)?)
            })
        });
        // It writes a file into the folder of each crate of the workspace.
        remove(&paths::workspace(), 2)?;
        written
    })
}

fn file() -> String {
    format!("{NAME}.json")
}

/// Removes the files of cargo-cyclonedx from a folder, and from the folders below it down to `depth`.
fn remove(folder: &Path, depth: usize) -> Result<()> {
    let _ = fs::remove_file(folder.join(file()));
    if depth > 0 {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() && entry.path() != paths::target() {
                remove(&entry.path(), depth - 1)?;
            }
        }
    }
    Ok(())
}
