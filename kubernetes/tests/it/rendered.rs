//! The overlays, rendered once for all tests.

use crate::render_cache;
use manifests::{objects, render, schema::Schema};
use serde_json::Value;
use std::{collections::BTreeSet, path::PathBuf, sync::LazyLock};

/// The Deployments that call the API server and therefore mount a token. Prometheus discovers pods. The adapter lists pods
/// and authenticates its clients; its sidecar publishes the authority of the certificate. A node autoscaler reads pods and drains
/// nodes.
pub(crate) const CALLERS: [&str; 4] = [
    "prometheus",
    "prometheus-adapter",
    "karpenter",
    "cluster-autoscaler",
];

/// The images of this project.
pub(crate) const OURS: [&str; 3] = ["app-a", "app-b", "serving-cert"];

/// The image of the cluster-autoscaler, which the testbed does not run: it is not available as a Go module.
pub(crate) const CLUSTER_AUTOSCALER: &str = "registry.k8s.io/autoscaling/cluster-autoscaler:v1.35.2";

/// Returns the Services of an overlay that are reachable from outside the cluster: the frontend, and locally Prometheus,
/// which does not authenticate its clients.
pub(crate) fn public(overlay: &str) -> &'static [&'static str] {
    match overlay {
        name if name.starts_with("local") => &["app-a", "prometheus"],
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

/// Every overlay. Those named `local…` are for one machine, the others for EKS.
pub(crate) static OVERLAYS: LazyLock<Vec<Overlay>> = LazyLock::new(|| render_all("overlays"));

/// Examples of the overlays that users write on top of [`OVERLAYS`]: with other names, namespaces, labels and annotations.
pub(crate) static USER_OVERLAYS: LazyLock<Vec<Overlay>> = LazyLock::new(|| render_all("tests/overlays"));

/// The overlays for EKS on the testbed, without what AWS alone has: `dev-on-testbed` and `prod-on-testbed`.
pub(crate) static ON_TESTBED: LazyLock<Vec<Overlay>> = LazyLock::new(|| {
    let render = |environment: &str| Overlay {
        name: format!("{environment}-on-testbed"),
        ..render_one(render::root().join("clusters/testbed").join(environment))
    };
    vec![render("dev"), render("prod")]
});

/// The agent that enforces network policies on the testbed.
pub(crate) static POLICY_AGENT: LazyLock<Overlay> =
    LazyLock::new(|| render_one(render::root().join("clusters/testbed/network-policy-agent")));

/// The clusters on EKS, in the form of eksctl.
static CLUSTERS: LazyLock<Vec<Overlay>> = LazyLock::new(|| render_all("clusters/eks"));

fn render_all(folder: &str) -> Vec<Overlay> {
    let overlays = render::kustomizations(folder).expect("overlays");
    assert!(!overlays.is_empty(), "there are no overlays in {folder}");
    overlays.into_iter().map(render_one).collect()
}

fn render_one(path: PathBuf) -> Overlay {
    Overlay {
        name: path.file_name().expect("a name").to_string_lossy().into_owned(),
        objects: render_cache::render(&path),
        path,
    }
}

/// Returns every overlay, those for EKS on the testbed, and then every example of a user's overlay.
pub(crate) fn all_overlays() -> impl Iterator<Item = &'static Overlay> {
    OVERLAYS
        .iter()
        .chain(ON_TESTBED.iter())
        .chain(USER_OVERLAYS.iter())
}

/// Returns the objects of the local overlay, for mutations.
pub(crate) fn local() -> Vec<Value> {
    overlay("local").objects.clone()
}

/// Returns the overlay or the example with this name.
pub(crate) fn overlay(name: &str) -> &'static Overlay {
    let found = all_overlays().find(|overlay| overlay.name == name);
    found.unwrap_or_else(|| panic!("there is no overlay {name}"))
}

/// Returns the overlays for EKS.
pub(crate) fn on_eks() -> [&'static Overlay; 2] {
    ["dev", "prod"].map(overlay)
}

/// Returns the cluster of an environment, as eksctl reads it.
pub(crate) fn cluster(environment: &str) -> &'static Value {
    let found = CLUSTERS.iter().find(|cluster| cluster.name == environment);
    &found
        .unwrap_or_else(|| panic!("there is no cluster {environment}"))
        .objects[0]
}

/// Returns an object of an overlay.
pub(crate) fn object(overlay: &'static Overlay, kind: &str, namespace: &str, name: &str) -> &'static Value {
    objects::find(&overlay.objects, kind, namespace, name)
        .unwrap_or_else(|| panic!("overlay {}: no {kind} {name}", overlay.name))
}

/// Returns the registry of an overlay for EKS, from which it takes all images of this project. Each account has its own.
pub(crate) fn registry(overlay: &Overlay) -> String {
    let path = format!("overlays/{}/kustomization.yaml", overlay.name);
    let kustomization = parse(&path);
    let images = objects::list(&kustomization, "/images").iter();
    let registries: BTreeSet<_> = images
        .map(|image| {
            let name = objects::text(image, "/name");
            objects::text(image, "/newName")
                .strip_suffix(&format!("/{name}"))
                .unwrap_or_else(|| panic!("{path}: {image}"))
                .to_owned()
        })
        .collect();
    assert_eq!(registries.len(), 1, "{path}: {registries:?}");
    registries.into_iter().next().expect("a registry")
}

/// Parses a file of the manifests.
fn parse(file: &str) -> Value {
    let text = std::fs::read_to_string(render::root().join(file)).expect("readable");
    render::parse(&text).expect("YAML").remove(0)
}

/// Returns the name and tag of every allowed image: the pinned upstream images, and ours with the tags in one file, on the nodes or
/// in the registry.
pub(crate) fn known_images() -> Vec<String> {
    const TAGS: &str = "components/images/kustomization.yaml";
    let component = parse(TAGS);
    let images = objects::list(&component, "/images").iter();
    let (names, references): (Vec<_>, Vec<_>) = images
        .map(|image| {
            let (name, tag) = (objects::text(image, "/name"), objects::text(image, "/newTag"));
            (name.to_owned(), format!("{name}:{tag}"))
        })
        .unzip();
    assert_eq!(names, OURS, "{TAGS}");
    let karpenter = testbed::images::karpenter().expect("the source of Karpenter's provider");
    let upstream = testbed::images::upstream()
        .into_iter()
        .chain([karpenter])
        .map(|image| image.reference);
    let registries = ["dev", "prod"].map(|environment| registry(overlay(environment)));
    let registries = registries.into_iter().chain([testbed::registry::name()]);
    let pulled =
        registries.flat_map(|registry| references.iter().map(move |image| format!("{registry}/{image}")));
    let pulled: Vec<_> = pulled.collect();
    references
        .into_iter()
        .chain(pulled)
        .chain(upstream)
        .chain([CLUSTER_AUTOSCALER.to_owned()])
        .collect()
}

/// The schemas of the pinned Kubernetes, and of the kinds of the controllers: Karpenter on the testbed, and those on EKS.
pub(crate) fn schema() -> Schema {
    let path = testbed::components::openapi_schema().expect("the OpenAPI document");
    let mut schema = Schema::read(&path).expect("readable");
    let on_eks = testbed::eks::definitions().expect("the definitions of the controllers on EKS");
    let definitions = testbed::karpenter::definitions().expect("the definitions of Karpenter");
    for path in definitions.into_iter().chain(on_eks) {
        let text = std::fs::read_to_string(&path).expect("readable");
        for definition in render::parse(&text).expect("YAML") {
            let defined = schema.define(&definition);
            defined.unwrap_or_else(|error| panic!("{}: {error:#}", path.display()));
        }
    }
    schema
}
