//! The directory of the database.

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use super::failure::OpenError;

/// Creates the directory of the database at `path`, if it does not exist.
pub(super) fn create(path: &Path) -> Result<(), OpenError> {
    let Some(directory) = of(path) else {
        return Ok(());
    };
    // Mode 0700: the database holds hashes of secrets.
    let created = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    created.map_err(|error| OpenError::directory(path, error))
}

/// Rejects a directory that another user owns or can write to. A user who can write to the database can add users to it.
pub(super) fn check_private(path: &Path) -> Result<(), OpenError> {
    let Some(directory) = of(path) else {
        return Ok(());
    };
    // Does not follow a symbolic link, which another user may own.
    let metadata = directory
        .symlink_metadata()
        .map_err(|error| OpenError::directory(path, error))?;
    let user = rustix::process::geteuid().as_raw();
    match objection(metadata.is_dir(), metadata.uid() == user, metadata.mode()) {
        Some(reason) => Err(OpenError::not_private(path, reason)),
        None => Ok(()),
    }
}

fn objection(is_directory: bool, is_own: bool, mode: u32) -> Option<&'static str> {
    const WRITABLE_BY_GROUP_OR_OTHERS: u32 = 0o022;
    if !is_own {
        Some("belongs to another user")
    } else if !is_directory {
        Some("is a symbolic link")
    } else if mode & WRITABLE_BY_GROUP_OR_OTHERS != 0 {
        Some("can be written by other users")
    } else {
        None
    }
}

/// Returns the directory of a file. `None` means the working directory.
fn of(path: &Path) -> Option<&Path> {
    path.parent()
        .filter(|directory| !directory.as_os_str().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_private_if_only_its_owner_can_write() {
        let cases = [
            (true, true, 0o40_700, true),
            (true, true, 0o40_755, true),
            (true, true, 0o40_770, false),
            (true, true, 0o40_702, false),
            (true, false, 0o40_700, false),
            (false, true, 0o120_777, false),
        ];
        for (is_directory, is_own, mode, expected) in cases {
            let is_private = objection(is_directory, is_own, mode).is_none();
            assert_eq!(is_private, expected, "{is_directory} {is_own} {mode:o}");
        }
    }
}
