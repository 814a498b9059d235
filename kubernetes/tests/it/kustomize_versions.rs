//! Renders every overlay with an old and a recent kustomize. Users have different versions, alone or in their kubectl.

use crate::rendered::all_overlays;
use manifests::render;
use testbed::components::KUSTOMIZE;

#[test]
fn old_and_recent_versions_render_the_same_objects() {
    for kustomize in KUSTOMIZE {
        for overlay in all_overlays() {
            let objects = render::render_with(kustomize, &overlay.path)
                .unwrap_or_else(|error| panic!("overlay {}: {error:#}", overlay.name));
            // Not `assert_eq`, which would print all objects.
            for (here, there) in overlay.objects.iter().zip(&objects) {
                assert_eq!(here, there, "overlay {}, {}", overlay.name, kustomize.name);
            }
            let counts = (overlay.objects.len(), objects.len());
            assert_eq!(counts.0, counts.1, "overlay {}, {}", overlay.name, kustomize.name);
        }
    }
}
