//! Rules for the files of the manifests.

use manifests::render;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn yaml_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            yaml_files(&path, files);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml")
        {
            files.push(path);
        }
    }
}

fn all_yaml_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    yaml_files(&render::root(), &mut files);
    assert!(files.len() > 20, "found only {files:?}");
    files
}

#[test]
fn a_file_holds_one_object_and_is_named_in_kebab_case() {
    for path in all_yaml_files() {
        let documents = render::parse(&fs::read_to_string(&path).expect("readable"));
        let documents = documents.unwrap_or_else(|error| panic!("{}: {error:#}", path.display()));
        assert_eq!(documents.len(), 1, "{}", path.display());
        let name = path.file_name().expect("a name").to_string_lossy();
        let is_kebab = |character: char| {
            character.is_ascii_lowercase() || character.is_ascii_digit() || "-.".contains(character)
        };
        assert!(name.chars().all(is_kebab), "{}", path.display());
    }
}

#[test]
fn every_file_is_used() {
    let used = |path: &Path| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        path.ancestors().skip(1).take(3).any(|folder| {
            let kustomization = fs::read_to_string(folder.join("kustomization.yaml")).unwrap_or_default();
            let relative = path
                .strip_prefix(folder)
                .expect("an ancestor")
                .to_string_lossy()
                .into_owned();
            name == "kustomization.yaml" || kustomization.contains(&relative)
        })
    };
    let clusters = render::root().join("clusters");
    let unused: Vec<_> = all_yaml_files()
        .into_iter()
        .filter(|path| !path.starts_with(&clusters) && !used(path))
        .collect();
    assert!(unused.is_empty(), "no kustomization mentions {unused:?}");
}

/// Checks each file of the repository, not only the manifests.
#[test]
fn no_file_in_git_contains_a_private_key() {
    let mut git = Command::new("git");
    git.current_dir(render::root().join(".."))
        .args(["grep", "--cached", "-lE"])
        .arg("^[[:space:]]*-----BEGIN .*PRIVATE KEY-----");
    let output = git.output().expect("git runs");
    // 1: no file matches.
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}
