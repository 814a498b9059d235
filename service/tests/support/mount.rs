//! A folder like the mount of a Secret. The tests of `service`, `app_a` and `app_b` include this file.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use tempfile::TempDir;

/// A folder like the mount of a Secret: its files are behind the symbolic link `..data`, which the kubelet replaces.
pub(crate) struct Mount {
    folder: TempDir,
    versions: u32,
}

impl Mount {
    /// A mount with these files, each a name and a content.
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Self { folder, versions: 0 };
        mount.write(files);
        mount
    }

    /// Returns the path of a file.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a new version, swaps the link, and deletes the old version.
    pub(crate) fn write(&mut self, files: &[(&str, &str)]) {
        let old = fs::read_link(self.file("..data")).ok();
        self.versions += 1;
        let version = format!("..version_{}", self.versions);
        fs::create_dir(self.file(&version)).unwrap();
        for (name, content) in files {
            fs::write(self.file(&version).join(name), content).unwrap();
            // Exists if an earlier version has the file.
            symlink(format!("..data/{name}"), self.file(name)).ok();
        }
        symlink(&version, self.file("..data_tmp")).unwrap();
        fs::rename(self.file("..data_tmp"), self.file("..data")).unwrap();
        if let Some(old) = old {
            fs::remove_dir_all(self.folder.path().join(old)).unwrap();
        }
    }
}
