//! The directory of the database: made where it is missing, and not trusted where others can write.

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use super::OpenError;

/// Makes the directory of the database at `path`.
pub(super) fn make(path: &Path) -> Result<(), OpenError> {
    let Some(directory) = of(path) else {
        return Ok(());
    };
    // Only this user may look into a directory that holds hashes of secrets.
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|error| OpenError::directory(path, error))
}

/// Refuses a directory that somebody else may have put there, as anyone can in the system's temporary directory: whoever
/// can write to it decides who the users are.
pub(super) fn check_private(path: &Path) -> Result<(), OpenError> {
    let Some(directory) = of(path) else {
        return Ok(());
    };
    // Of a link itself, which may be anyone's and lead anywhere.
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
        Some("is a link")
    } else if mode & WRITABLE_BY_GROUP_OR_OTHERS != 0 {
        Some("can be written by other users")
    } else {
        None
    }
}

/// Nothing for the working directory.
fn of(path: &Path) -> Option<&Path> {
    path.parent()
        .filter(|directory| !directory.as_os_str().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_directory_of_ones_own_is_private() {
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
