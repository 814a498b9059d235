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
    /// The files in `directory`, which must exist.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
        }
    }

    /// The file of the serving certificate and its authority.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.directory.join("tls.crt")
    }

    /// The file of the private key.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.directory.join("tls.key")
    }

    /// Writes both files, readable by the owner only. Each file is replaced atomically. A reader may still read one new and one
    /// old file. They do not match, and the server then keeps its certificate until the next change
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
        // Created with mode 0600. Removed if a step before the rename fails.
        let mut file = NamedTempFile::new_in(&self.directory).with_context(error)?;
        file.write_all(content.as_bytes()).with_context(error)?;
        file.persist(path).with_context(error)?;
        Ok(())
    }

    /// Reads both files.
    ///
    /// # Errors
    /// When a file is missing, or the key does not match the certificate.
    pub fn read(&self) -> Result<ServingCertificate> {
        let read = |path: PathBuf| {
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        ServingCertificate::parse(&read(self.certificate())?, &read(self.key())?)
    }

    /// Whether there is a certificate, even an invalid one. A server may then be running with an earlier one.
    #[must_use]
    pub fn exist(&self) -> bool {
        self.certificate().exists()
    }

    /// Checks that a server can use the files at `now`.
    ///
    /// # Errors
    /// When a file is missing or unreadable, the key does not match, or the certificate is not valid yet or has expired.
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
