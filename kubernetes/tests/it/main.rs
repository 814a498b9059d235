//! The manifests as they would be applied, checked without a cluster; and every check against manifests that are broken
//! on purpose, so that each is seen to notice.

mod breaking;
mod breaking_chain;
mod broken_chain;
mod broken_objects;
mod chain;
mod configuration;
mod overlays;
mod rendered;
mod tree;
