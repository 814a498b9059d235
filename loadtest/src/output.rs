//! Where reports go. A file is opened before the load, so that a path that cannot be written is found in time.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;
use engine::BadConfiguration;

/// A file to be written when the load is over.
#[derive(Debug)]
pub struct OutputFile {
    path: PathBuf,
    file: File,
    /// Made by opening it, and empty until written.
    is_new: bool,
}

impl OutputFile {
    /// Opens `path` for writing; what it holds stays until [`OutputFile::write`].
    ///
    /// # Errors
    /// [`BadConfiguration`] when it cannot be written.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let is_new = !path.exists();
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(|error| {
                BadConfiguration::new(format!("{} cannot be written: {error}", path.display()))
            })?;
        Ok(Self {
            path: path.to_owned(),
            file,
            is_new,
        })
    }

    /// Replaces what the file holds.
    ///
    /// # Errors
    /// When writing fails.
    pub fn write(mut self, content: &[u8]) -> anyhow::Result<()> {
        self.is_new = false;
        // A pipe or a terminal has no length to cut.
        if self.file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            self.file
                .set_len(0)
                .with_context(|| format!("writing {}", self.path.display()))?;
        }
        self.file
            .write_all(content)
            .with_context(|| format!("writing {}", self.path.display()))
    }
}

impl Drop for OutputFile {
    /// A run that was refused leaves no empty file behind.
    fn drop(&mut self) {
        if self.is_new {
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// Writes to standard output; a reader that has gone, as `head` does, is no error.
///
/// # Errors
/// When writing fails for another reason.
pub fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout()
        .write_all(text.as_bytes())
        .and_then(|()| io::stdout().flush())
    {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("writing to standard output")
        }
        _ => Ok(()),
    }
}
