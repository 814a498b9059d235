//! The same commit gives the same images, wherever it is built.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testbed::{archive, paths};

use crate::push::IMAGES;

/// The deadline of a build from nothing. It took 22 minutes with one job on two busy cores.
const BUILD: Duration = Duration::from_mins(55);

#[test]
fn a_build_in_another_folder_by_another_user_gives_the_same_digests() {
    if let Err(error) = compare() {
        panic!("{error:#}");
    }
}

fn compare() -> Result<()> {
    // The folder has another name and another depth than that of the workspace. What cargo compiled stays for the next run.
    let folder = paths::target().join("second-build");
    let (source, home) = (folder.join("a/second/folder"), folder.join("home of cargo"));
    for old in [&source, &home] {
        if old.exists() {
            fs::remove_dir_all(old)?;
        }
        fs::create_dir_all(old)?;
    }
    copy_source(&source)?;
    // As for another user: another home of cargo, with the same downloaded crates.
    std::os::unix::fs::symlink(cargo_home()?.join("registry"), home.join("registry"))?;
    let mut build = Command::new("cargo");
    build
        .args(["xtask", "images", "--quick"])
        .current_dir(&source)
        .env("CARGO_HOME", &home)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .env_remove("IMAGE_SOURCE");
    e2e::succeed_within(BUILD, &mut build)?;
    e2e::succeed_within(
        BUILD,
        e2e::xtask(&["images", "--quick"]).env_remove("IMAGE_SOURCE"),
    )?;
    for name in IMAGES {
        let archive = |target: &Path| target.join("images-quick").join(format!("{name}.tar"));
        let (first, second) = (archive(&paths::target()), archive(&folder.join("target")));
        let (first, second) = (archive::image_digest(&first)?, archive::image_digest(&second)?);
        println!("{name}: {first}");
        ensure!(first == second, "{name}: {first} here, {second} there");
    }
    Ok(())
}

/// Copies the source with its history, and with the changes that are not committed: they are part of the images.
fn copy_source(folder: &Path) -> Result<()> {
    let workspace = paths::workspace();
    let shown = (workspace.display().to_string(), folder.display().to_string());
    git(&["clone", "--quiet", "--shared", &shown.0, &shown.1])?;
    let changed = git(&[
        "-C",
        &shown.0,
        "ls-files",
        "-z",
        "--modified",
        "--others",
        "--exclude-standard",
    ])?;
    for file in changed.split_terminator('\0') {
        let (from, to) = (workspace.join(file), folder.join(file));
        if from.exists() {
            fs::create_dir_all(to.parent().unwrap_or(folder))?;
            fs::copy(&from, &to).with_context(|| file.to_owned())?;
        } else {
            fs::remove_file(&to)?;
        }
    }
    Ok(())
}

fn git(arguments: &[&str]) -> Result<String> {
    e2e::succeed(Command::new("git").args(arguments))
}

fn cargo_home() -> Result<std::path::PathBuf> {
    match std::env::var_os("CARGO_HOME") {
        Some(home) => Ok(home.into()),
        None => Ok(std::env::home_dir().context("HOME is not set")?.join(".cargo")),
    }
}
