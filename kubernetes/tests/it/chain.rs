//! The chain of every overlay, from the binaries' own text to the HPAs.

use crate::rendered::OVERLAYS;
use manifests::{chain, findings::list};

/// What each service serves at its `/metrics` right after the start.
pub(crate) fn binaries() -> [(&'static str, String); 2] {
    [("app_a", app_a::metrics_text()), ("app_b", app_b::metrics_text())]
}

#[test]
fn every_link_holds_for_both_binaries() {
    for overlay in OVERLAYS.iter() {
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
