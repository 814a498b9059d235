//! The flags of the compiler for the programs of the images. All builds of these programs share them, so that they share the compiled
//! libraries.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

/// The programs need no C library in their image.
const STATIC: [&str; 2] = ["-C", "target-feature=+crt-static"];

/// The folder that replaces that of the downloaded crates in the programs.
const SOURCES: &str = "/cargo/registry/src";

/// Sets the flags. With `--target` they apply only to the programs, not to build scripts and macros.
///
/// # Errors
/// When the home of cargo is unknown, or no text.
pub(crate) fn set(command: &mut Command) -> Result<&mut Command> {
    let flags = flags(&cargo_home()?)?;
    // Unlike RUSTFLAGS, this variable can contain a path with spaces.
    Ok(command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}")))
}

/// A panic message contains the path of its source file. The paths of crates from a registry are absolute, and would be the only
/// difference between programs that two users build. The paths of this project and of the standard library are not absolute, or the
/// same everywhere.
fn flags(cargo_home: &Path) -> Result<Vec<String>> {
    let sources = cargo_home.join("registry/src");
    let sources = sources.to_str().context("the home of cargo is no text")?;
    let mut flags: Vec<_> = STATIC.map(str::to_owned).into();
    flags.push(format!("--remap-path-prefix={sources}={SOURCES}"));
    Ok(flags)
}

/// The home of cargo, as cargo finds it.
fn cargo_home() -> Result<PathBuf> {
    match std::env::var_os("CARGO_HOME").filter(|home| !home.is_empty()) {
        Some(home) => Ok(std::path::absolute(home)?),
        None => Ok(std::env::home_dir()
            .context("neither CARGO_HOME nor HOME is set")?
            .join(".cargo")),
    }
}

#[test]
fn the_sources_of_crates_have_the_same_path_for_every_user() {
    assert_eq!(
        flags(Path::new("/home/some one/.cargo")).unwrap(),
        [
            "-C",
            "target-feature=+crt-static",
            "--remap-path-prefix=/home/some one/.cargo/registry/src=/cargo/registry/src"
        ]
    );
}
