//! The overlays, rendered once for all tests.

use manifests::{objects, render};
use serde_json::Value;
use std::{path::PathBuf, sync::LazyLock};

/// The Deployments that call the API server and therefore mount a token. Prometheus discovers pods. The adapter lists pods
/// and authenticates its clients; its sidecar publishes the authority of the certificate.
pub(crate) const CALLERS: [&str; 2] = ["prometheus", "prometheus-adapter"];

/// The images of this project.
pub(crate) const OURS: [&str; 3] = ["app-a", "app-b", "serving-cert"];

/// Returns the Services of an overlay that are reachable from outside the cluster: the frontend, and locally Prometheus,
/// which does not authenticate its clients.
pub(crate) fn public(overlay: &str) -> &'static [&'static str] {
    match overlay {
        "local" | "local-1.29" => &["app-a", "prometheus"],
        _ => &["app-a"],
    }
}

/// One overlay.
pub(crate) struct Overlay {
    /// The name of its folder.
    pub(crate) name: String,
    /// Its folder.
    pub(crate) path: PathBuf,
    /// The rendered objects.
    pub(crate) objects: Vec<Value>,
}

/// The base, which has no image tags yet.
pub(crate) static BASE: LazyLock<Overlay> = LazyLock::new(|| render_one(render::root().join("base")));

/// Every overlay.
pub(crate) static OVERLAYS: LazyLock<Vec<Overlay>> = LazyLock::new(|| render_all("overlays"));

/// Examples of the overlays that users write on top of [`OVERLAYS`]: with other names, namespaces, labels and annotations.
pub(crate) static USER_OVERLAYS: LazyLock<Vec<Overlay>> = LazyLock::new(|| render_all("tests/overlays"));

fn render_all(folder: &str) -> Vec<Overlay> {
    let overlays = render::kustomizations(folder).expect("overlays");
    assert!(!overlays.is_empty(), "there are no overlays in {folder}");
    overlays.into_iter().map(render_one).collect()
}

fn render_one(path: PathBuf) -> Overlay {
    Overlay {
        name: path.file_name().expect("a name").to_string_lossy().into_owned(),
        objects: render::render(&path).unwrap_or_else(|error| panic!("{}: {error:#}", path.display())),
        path,
    }
}

/// Returns every overlay, and then every example of a user's overlay.
pub(crate) fn all_overlays() -> impl Iterator<Item = &'static Overlay> {
    OVERLAYS.iter().chain(USER_OVERLAYS.iter())
}

/// Returns the objects of the local overlay, for mutations.
pub(crate) fn local() -> Vec<Value> {
    overlay("local").objects.clone()
}

/// Returns the overlay with this name.
pub(crate) fn overlay(name: &str) -> &'static Overlay {
    let found = OVERLAYS.iter().find(|overlay| overlay.name == name);
    found.unwrap_or_else(|| panic!("there is no overlay {name}"))
}

/// Returns the name and tag of every allowed image: the pinned upstream images, and ours with the tags in one file.
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
