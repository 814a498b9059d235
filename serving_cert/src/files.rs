//! The files that the server reads: `tls.crt` and `tls.key`.

use crate::certificate::ServingCertificate;
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;
use time::OffsetDateTime;

/// A directory with a certificate and its key.
#[derive(Clone, Debug)]
pub struct Files {
    directory: PathBuf,
}

impl Files {
    /// The files in `directory`, which has to exist.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
        }
    }

    /// The serving certificate and its authority's.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.directory.join("tls.crt")
    }

    /// The serving certificate's private key.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.directory.join("tls.key")
    }

    /// Writes both, readable by the owner only. Each is replaced as a whole; a reader that catches the one new and the
    /// other old sees that they do not belong together, and the server then keeps what it has until the next change
    /// (`DynamicCertKeyPairContent` in k8s.io/apiserver).
    ///
    /// # Errors
    /// When the directory is missing, read-only or full.
    pub fn write(&self, certificate: &ServingCertificate) -> Result<()> {
        self.replace(&self.key(), &certificate.key_pem)?;
        self.replace(&self.certificate(), &certificate.chain_pem)
    }

    fn replace(&self, path: &Path, content: &str) -> Result<()> {
        let error = || format!("cannot write {}", path.display());
        // Made with mode 0600, and removed if anything fails before the rename.
        let mut file = NamedTempFile::new_in(&self.directory).with_context(error)?;
        file.write_all(content.as_bytes()).with_context(error)?;
        file.persist(path).with_context(error)?;
        Ok(())
    }

    /// Reads both.
    ///
    /// # Errors
    /// When one is missing, or they do not belong together.
    pub fn read(&self) -> Result<ServingCertificate> {
        let read = |path: PathBuf| {
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        ServingCertificate::parse(&read(self.certificate())?, &read(self.key())?)
    }

    /// Whether a server that reads the files at `now` can serve with them.
    ///
    /// # Errors
    /// Says what is wrong: missing, unreadable, not belonging together, not valid yet, expired.
    pub fn check(&self, now: OffsetDateTime) -> Result<()> {
        let certificate = self.read()?;
        ensure!(
            now >= certificate.not_before,
            "not valid before {}",
            certificate.not_before
        );
        ensure!(
            now <= certificate.not_after,
            "expired at {}",
            certificate.not_after
        );
        Ok(())
    }
}
