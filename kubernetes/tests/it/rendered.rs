//! The overlays, rendered once for all tests.

use manifests::{objects, render};
use serde_json::Value;
use std::{path::PathBuf, sync::LazyLock};

/// Deployments that call the API server, and so get a token: Prometheus discovers pods; the adapter lists pods and asks
/// who is calling, and its sidecar publishes the authority of its certificate.
pub(crate) const CALLERS: [&str; 2] = ["prometheus", "prometheus-adapter"];

/// The images that this project builds.
pub(crate) const OURS: [&str; 3] = ["app-a", "app-b", "serving-cert"];

/// Services of an overlay that may be reached from outside the cluster: the frontend, and, on a machine of one's own,
/// Prometheus, which asks nobody who they are.
pub(crate) fn public(overlay: &str) -> &'static [&'static str] {
    match overlay {
        "local" => &["app-a", "prometheus"],
        _ => &["app-a"],
    }
}

/// One overlay.
pub(crate) struct Overlay {
    /// Its folder's name.
    pub(crate) name: String,
    /// What would be applied.
    pub(crate) objects: Vec<Value>,
}

/// Every overlay.
pub(crate) static OVERLAYS: LazyLock<Vec<Overlay>> = LazyLock::new(|| {
    let overlays = render::overlays().expect("overlays");
    assert!(!overlays.is_empty(), "there are no overlays");
    overlays
        .into_iter()
        .map(|path: PathBuf| Overlay {
            name: path.file_name().expect("a name").to_string_lossy().into_owned(),
            objects: render::render(&path).unwrap_or_else(|error| panic!("{}: {error:#}", path.display())),
        })
        .collect()
});

/// The local overlay, which the tests of broken manifests start from.
pub(crate) fn local() -> Vec<Value> {
    let local = OVERLAYS.iter().find(|overlay| overlay.name == "local");
    local.expect("the local overlay").objects.clone()
}

/// Name and tag of every image that may run: upstream's, which are pinned, and ours with the tags of their content, which
/// stand in one file.
pub(crate) fn known_images() -> Vec<String> {
    let path = render::root().join("components/images/kustomization.yaml");
    let text = std::fs::read_to_string(&path).expect("readable");
    let component = &render::parse(&text).expect("YAML")[0];
    let images = objects::list(component, "/images").iter();
    let (names, references): (Vec<_>, Vec<_>) = images
        .map(|image| {
            let (name, tag) = (objects::text(image, "/name"), objects::text(image, "/newTag"));
            (name.to_owned(), format!("{name}:{tag}"))
        })
        .unzip();
    assert_eq!(names, OURS, "{}", path.display());
    let upstream = testbed::images::upstream()
        .into_iter()
        .map(|image| image.reference);
    references.into_iter().chain(upstream).collect()
}
