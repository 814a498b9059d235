//! The git revision of a part of the source.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The revision if git does not know it.
const UNKNOWN: &str = "unknown";

/// Returns the last commit that changed one of `files`, without files the last commit. Commits to other files do not change it. With uncommitted changes to
/// these files, it ends with `-dirty`. It is `unknown` outside of a repository, and in a shallow clone, whose history may not
/// contain that commit.
pub(crate) fn of(root: &Path, files: &[PathBuf]) -> String {
    let git = |arguments: &[&str], files: &[PathBuf]| {
        let mut command = Command::new("git");
        command.arg("-C").arg(root).args(arguments).args(files);
        let output = command.output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    if git(&["rev-parse", "--is-shallow-repository"], &[]).as_deref() != Some("false") {
        return UNKNOWN.to_owned();
    }
    let commit = git(&["log", "-1", "--format=%H", "--"], files).filter(|commit| !commit.is_empty());
    let Some(commit) = commit else {
        return UNKNOWN.to_owned();
    };
    match git(&["status", "--porcelain", "--"], files).as_deref() {
        Some("") => commit,
        _ => commit + "-dirty",
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn git(root: &Path, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command.arg("-C").arg(root).args(arguments);
        for role in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{role}_NAME"), "test")
                .env(format!("GIT_{role}_EMAIL"), "test@localhost");
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn commit(root: &Path, file: &str, text: &str) -> String {
        fs::write(root.join(file), text).unwrap();
        git(root, &["add", file]);
        git(root, &["commit", "--quiet", "--message", "change"]);
        git(root, &["rev-parse", "HEAD"])
    }

    #[test]
    fn the_revision_is_the_last_commit_that_changed_the_source() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let files = ["main.rs", "Cargo.lock"].map(|file| root.join(file));
        assert_eq!(of(root, &files), "unknown", "no repository");
        git(root, &["init", "--quiet"]);
        assert_eq!(of(root, &files), "unknown", "no commit");
        commit(root, "main.rs", "fn main() {}");
        let source = commit(root, "Cargo.lock", "version = 4");
        commit(root, "README.md", "text");
        assert_eq!(of(root, &files), source, "a later commit to another file");
        let last = git(root, &["rev-parse", "HEAD"]);
        assert_eq!(of(root, &[]), last, "of the whole source");
        fs::write(root.join("README.md"), "changed").unwrap();
        assert_eq!(of(root, &[]), format!("{last}-dirty"), "of the whole source");
        assert_eq!(of(root, &files), source, "a change to another file");
        fs::write(root.join("main.rs"), "changed").unwrap();
        assert_eq!(of(root, &files), format!("{source}-dirty"));
    }

    #[test]
    fn the_revision_in_a_shallow_clone_is_unknown() {
        let root = tempfile::tempdir().unwrap();
        let (full, shallow) = (root.path().join("full"), root.path().join("shallow"));
        fs::create_dir(&full).unwrap();
        git(&full, &["init", "--quiet"]);
        commit(&full, "main.rs", "fn main() {}");
        commit(&full, "README.md", "text");
        let url = format!("file://{}", full.display());
        git(
            root.path(),
            &[
                "clone",
                "--quiet",
                "--depth",
                "1",
                &url,
                shallow.to_str().unwrap(),
            ],
        );
        assert_eq!(of(&shallow, &[shallow.join("main.rs")]), "unknown");
    }
}
