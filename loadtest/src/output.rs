//! Report files and standard output.
//!
//! Report files are opened before the load, so that a wrong path fails early.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;
use engine::BadConfiguration;

/// A report file: open from the start, written after the load.
#[derive(Debug)]
pub struct OutputFile {
    path: PathBuf,
    file: File,
    /// Whether [`OutputFile::open`] created the file and nothing has been written to it.
    is_new: bool,
}

impl OutputFile {
    /// Opens `path` for writing. The old content stays until [`OutputFile::write`].
    ///
    /// # Errors
    /// [`BadConfiguration`] when the file cannot be opened for writing.
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

    /// Replaces the content of the file.
    ///
    /// # Errors
    /// When writing fails.
    pub fn write(mut self, content: &[u8]) -> anyhow::Result<()> {
        self.is_new = false;
        // Pipes and terminals cannot be truncated.
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
    /// Removes the file if this run created it and wrote nothing.
    fn drop(&mut self) {
        if self.is_new {
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// Writes a line to standard error. Ignores a failure: a reader that goes away must not end a run.
pub fn status(line: impl fmt::Display) {
    status_text(format_args!("{line}\n"));
}

/// Writes to standard error, without a line break.
pub fn status_text(text: impl fmt::Display) {
    let mut stderr = io::stderr();
    write!(stderr, "{text}").and_then(|()| stderr.flush()).ok();
}

/// Writes a text, to standard output or to standard error.
pub type Print = fn(&str) -> anyhow::Result<()>;

/// Writes to standard error, as a [`Print`].
///
/// # Errors
/// Never: a reader that goes away must not end a run.
pub fn print_status(text: &str) -> anyhow::Result<()> {
    status_text(text);
    Ok(())
}

/// Writes to standard output. Ignores a broken pipe, as after `| head`.
///
/// # Errors
/// When writing fails for any other reason.
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
