//! The state of the source: a release is built from a commit, and deployed with the manifests of this commit.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use testbed::progress;

use super::outcome::refused;

/// The paths that a refusal names. The rest is only counted.
const SHOWN: usize = 10;

/// The folder of the manifests.
const MANIFESTS: &str = "kubernetes";

/// Returns the commit of the source.
///
/// # Errors
/// Refuses a folder without a commit, a shallow clone, and changes that no commit contains.
pub(super) fn commit(root: &Path) -> Result<String> {
    let Ok(commit) = git(root, &["rev-parse", "--verify", "HEAD^{commit}"]) else {
        return Err(refused(format!(
            "git knows no commit of {}: a release needs one. Clone the repository, or commit the source",
            root.display()
        )));
    };
    if git(root, &["rev-parse", "--is-shallow-repository"])?.trim() != "false" {
        return Err(refused(
            "this is a shallow clone, which does not know the commits of the images: run `git fetch --unshallow` first",
        ));
    }
    // Also files that git does not ignore and that nobody added.
    let changed = git(root, &["status", "--porcelain", "--untracked-files=all"])?;
    let changed: Vec<_> = changed
        .lines()
        .map(|line| line.get(3..).unwrap_or(line))
        .collect();
    if !changed.is_empty() {
        return Err(refused(format!(
            "the source has changes that no commit contains: {}. Commit them, or put them aside with \
             `git stash --include-untracked`",
            list(&changed)
        )));
    }
    Ok(commit.trim().to_owned())
}

/// Checks that the manifests of the source are those of a commit. An overlay outside of the source is the user's own matter.
///
/// # Errors
/// Refuses manifests that differ from those of the commit.
pub(super) fn check_manifests(root: &Path, overlay: &Path, revision: &str) -> Result<()> {
    let root = root.canonicalize()?;
    let Ok(overlay) = overlay.canonicalize() else {
        return Err(refused(format!("there is no overlay {}", overlay.display())));
    };
    let Ok(overlay) = overlay.strip_prefix(&root) else {
        return Ok(());
    };
    let overlay = overlay.to_string_lossy();
    let run = |arguments: &[&str]| git(&root, &[arguments, &["--", MANIFESTS, &overlay]].concat());
    let commit = format!("{revision}^{{commit}}");
    if git(&root, &["rev-parse", "--verify", "--quiet", &commit]).is_err() {
        return Err(refused(format!(
            "git does not know the commit {revision} of the release: fetch it, or build a release of this source with `--stage build`"
        )));
    }
    let changed = run(&["diff", "--name-only", revision])?;
    let untracked = run(&["ls-files", "--others", "--exclude-standard"])?;
    let different: Vec<_> = changed.lines().chain(untracked.lines()).collect();
    if !different.is_empty() {
        return Err(refused(format!(
            "the manifests are not those of the release {revision}: {}. Check out this commit, or build a release of the present \
             source with `--stage build`",
            list(&different)
        )));
    }
    Ok(())
}

fn list(paths: &[&str]) -> String {
    let shown = paths[..paths.len().min(SHOWN)].join(", ");
    match paths.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn git(root: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("git");
    progress::run(command.arg("-C").arg(root).args(arguments))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A repository with a service and an overlay, and its first commit.
    fn repository() -> (tempfile::TempDir, String) {
        let root = tempfile::tempdir().unwrap();
        git(root.path(), &["init", "--quiet"]).unwrap();
        fs::create_dir_all(root.path().join("kubernetes/overlays/local")).unwrap();
        fs::write(
            root.path().join("kubernetes/overlays/local/kustomization.yaml"),
            "resources: []",
        )
        .unwrap();
        let commit = commit_file(root.path(), "main.rs", "fn main() {}");
        (root, commit)
    }

    fn commit_file(root: &Path, file: &str, text: &str) -> String {
        fs::write(root.join(file), text).unwrap();
        git(root, &["add", "--all"]).unwrap();
        let identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"];
        let commit = ["commit", "--quiet", "--message", "change"];
        git(root, &[&identity[..], &commit].concat()).unwrap();
        git(root, &["rev-parse", "HEAD"]).unwrap().trim().to_owned()
    }

    fn refusal<T: std::fmt::Debug>(result: Result<T>) -> String {
        let error = result.unwrap_err();
        assert_eq!(super::super::outcome::exit_code(&error), 3, "{error:#}");
        error.to_string()
    }

    #[test]
    fn a_release_needs_a_commit_of_everything() {
        let empty = tempfile::tempdir().unwrap();
        assert!(refusal(commit(empty.path())).contains("git knows no commit"));
        let (root, head) = repository();
        assert_eq!(commit(root.path()).unwrap(), head);
        fs::write(root.path().join("main.rs"), "changed").unwrap();
        fs::write(root.path().join("new.rs"), "new").unwrap();
        let message = refusal(commit(root.path()));
        for part in ["main.rs", "new.rs", "git stash"] {
            assert!(message.contains(part), "{part}: {message}");
        }
    }

    #[test]
    fn a_shallow_clone_is_refused() {
        let (root, _) = repository();
        commit_file(root.path(), "main.rs", "changed");
        let clone = tempfile::tempdir().unwrap();
        let url = format!("file://{}", root.path().display());
        git(clone.path(), &["clone", "--quiet", "--depth", "1", &url, "."]).unwrap();
        assert!(refusal(commit(clone.path())).contains("--unshallow"));
    }

    #[test]
    fn the_manifests_are_those_of_the_release() {
        let (root, release) = repository();
        let root = root.path();
        let overlay = root.join("kubernetes/overlays/local");
        let check = |revision: &str| check_manifests(root, &overlay, revision);
        check(&release).unwrap();
        // A later commit that changes no manifest.
        let later = commit_file(root, "main.rs", "changed");
        check(&release).unwrap();
        commit_file(
            root,
            "kubernetes/overlays/local/kustomization.yaml",
            "resources: [a]",
        );
        let message = refusal(check(&release));
        assert!(message.contains("overlays/local/kustomization.yaml"), "{message}");
        assert!(refusal(check(&later)).contains("kustomization.yaml"));
        let head = git(root, &["rev-parse", "HEAD"]).unwrap();
        fs::write(overlay.join("new.yaml"), "kind: Secret").unwrap();
        assert!(refusal(check(head.trim())).contains("new.yaml"));
        assert!(refusal(check(&"0".repeat(40))).contains("does not know the commit"));
    }

    #[test]
    fn an_overlay_elsewhere_is_not_compared() {
        let (root, _) = repository();
        let elsewhere = tempfile::tempdir().unwrap();
        check_manifests(root.path(), elsewhere.path(), &"0".repeat(40)).unwrap();
        let missing = refusal(check_manifests(
            root.path(),
            &elsewhere.path().join("missing"),
            "0",
        ));
        assert!(missing.contains("no overlay"), "{missing}");
    }
}
