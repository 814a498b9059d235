//! Checks the metrics chain of every overlay, from the `/metrics` page of each binary to the HPAs.

use crate::rendered::all_overlays;
use manifests::{chain, findings::list};

/// Returns the `/metrics` page of each service right after its start.
pub(crate) fn binaries() -> [(&'static str, String); 2] {
    [("app_a", app_a::metrics_text()), ("app_b", app_b::metrics_text())]
}

#[test]
fn no_link_is_broken() {
    for overlay in all_overlays() {
        for (binary, text) in binaries() {
            let broken = chain::check(&text, &overlay.objects);
            assert!(
                broken.is_empty(),
                "overlay {}, {binary}:{}",
                overlay.name,
                list(&broken)
            );
        }
    }
}
