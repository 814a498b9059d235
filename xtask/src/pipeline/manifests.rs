//! The manifests of a release: the overlay of a stage, with each image by its digest.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::json;
use testbed::progress;

use super::cluster::{Cluster, PAIR};
use super::outcome::refused;
use super::release::split;

/// Writes `folder/kustomization.yaml`, so that `kubectl apply -k folder` deploys the overlay with these images: a reference by digest for
/// each name.
///
/// # Errors
/// Refuses an overlay that cannot be rendered, or that does not contain the pair.
pub(super) fn generate(
    cluster: &Cluster,
    overlay: &Path,
    images: &BTreeMap<String, String>,
    folder: &Path,
) -> Result<()> {
    let rendered = render(cluster, overlay)
        .map_err(|error| refused(format!("the overlay cannot be rendered: {error:#}")))?;
    let replaced = replaced(&rendered, images);
    for name in PAIR {
        if !replaced
            .iter()
            .any(|(repository, _)| basename(repository) == name)
        {
            return Err(refused(format!(
                "the overlay {} has no image {name}, or the release has none: nothing would deploy it",
                overlay.display()
            )));
        }
    }
    // Before its path is resolved.
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let text = kustomization(&relative(folder, overlay)?, &replaced)?;
    fs::write(folder.join("kustomization.yaml"), text).with_context(|| folder.display().to_string())
}

/// Renders the manifests of a folder.
///
/// # Errors
/// When kustomize cannot build it.
pub(super) fn render(cluster: &Cluster, folder: &Path) -> Result<String> {
    progress::run(cluster.kubectl().arg("kustomize").arg(folder))
}

/// The repositories that the rendered manifests name, each with the image of the release that replaces it. An overlay may have set
/// another registry for an image.
fn replaced<'a>(rendered: &str, images: &'a BTreeMap<String, String>) -> BTreeMap<String, &'a str> {
    let named = rendered.lines().filter_map(|line| {
        let line = line.trim_start();
        line.strip_prefix("- ").unwrap_or(line).strip_prefix("image: ")
    });
    let repositories = named.map(|reference| repository(reference.trim_matches('"')));
    let found = repositories.filter_map(|repository| {
        let image = images.get(basename(repository))?;
        Some((repository.to_owned(), image.as_str()))
    });
    found.collect()
}

/// A reference without its tag and digest.
fn repository(reference: &str) -> &str {
    let name = reference.split('@').next().unwrap_or(reference);
    match name.rsplit_once(':') {
        // A colon before the last slash belongs to the port of the registry.
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

fn basename(repository: &str) -> &str {
    repository.rsplit('/').next().unwrap_or(repository)
}

/// The text of the file. JSON is YAML.
fn kustomization(overlay: &Path, replaced: &BTreeMap<String, &str>) -> Result<String> {
    let mut images = Vec::new();
    for (name, reference) in replaced {
        let (repository, digest) = split(reference).with_context(|| format!("{reference} has no digest"))?;
        images.push(json!({ "name": name, "newName": repository, "digest": digest }));
    }
    let kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [overlay],
        "images": images,
    });
    let text = serde_json::to_string_pretty(&kustomization)?;
    Ok(format!(
        "# Written by `cargo xtask pipeline`: the overlay, with the images of the release.\n{text}\n"
    ))
}

/// The path of an existing folder, relative to another one: kustomize accepts no absolute path.
fn relative(from: &Path, to: &Path) -> Result<PathBuf> {
    let absolute = |path: &Path| path.canonicalize().with_context(|| path.display().to_string());
    let (from, to) = (absolute(from)?, absolute(to)?);
    let common = from
        .components()
        .zip(to.components())
        .take_while(|(a, b)| a == b)
        .count();
    let up = from.components().skip(common).map(|_| Component::ParentDir);
    Ok(up.chain(to.components().skip(common)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(repository: &str, digit: &str) -> String {
        format!("{repository}@sha256:{}", digit.repeat(64))
    }

    fn images() -> BTreeMap<String, String> {
        let of = |name: &str, digit: &str| {
            (
                name.to_owned(),
                reference(&format!("127.0.0.1:5005/{name}"), digit),
            )
        };
        BTreeMap::from([
            of("app-a", "a"),
            of("app-b", "b"),
            of("serving-cert", "c"),
            of("loadtest", "d"),
        ])
    }

    #[test]
    fn every_image_of_the_overlays_gets_the_digest_of_the_release() {
        let cluster = Cluster::new(None).unwrap();
        // In the workspace and elsewhere: the path of the overlay is relative.
        for (overlay, parent) in [
            ("local", testbed::paths::target()),
            ("dev", std::env::temp_dir()),
            ("prod", testbed::paths::target()),
        ] {
            let overlay = testbed::paths::workspace()
                .join("kubernetes/overlays")
                .join(overlay);
            fs::create_dir_all(&parent).unwrap();
            let folder = tempfile::tempdir_in(parent).unwrap();
            let folder = folder.path().join("stage");
            generate(&cluster, &overlay, &images(), &folder).unwrap();
            let rendered = render(&cluster, &folder).unwrap();
            for (name, reference) in images().iter().filter(|(name, _)| *name != "loadtest") {
                let lines: Vec<_> = rendered
                    .lines()
                    .filter(|line| line.contains("image: ") && line.contains(name))
                    .collect();
                assert_eq!(lines.len(), 1, "{lines:?}");
                assert!(lines[0].ends_with(&format!("image: {reference}")), "{}", lines[0]);
            }
            assert!(
                rendered.contains("image: quay.io/prometheus/prometheus:v"),
                "another image has changed"
            );
        }
    }

    #[test]
    fn an_overlay_without_the_pair_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("kustomization.yaml"), "resources: []").unwrap();
        let cluster = Cluster::new(None).unwrap();
        let error = generate(&cluster, folder.path(), &images(), &folder.path().join("stage")).unwrap_err();
        assert_eq!(super::super::outcome::exit_code(&error), 3, "{error:#}");
    }

    #[test]
    fn a_repository_has_neither_tag_nor_digest() {
        for (reference, expected) in [
            ("app-a", "app-a"),
            ("app-a:1", "app-a"),
            ("127.0.0.1:5005/app-a", "127.0.0.1:5005/app-a"),
            ("127.0.0.1:5005/app-a:1@sha256:ab", "127.0.0.1:5005/app-a"),
        ] {
            assert_eq!(repository(reference), expected);
        }
    }
}
