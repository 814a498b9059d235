//! The static checks of the rendered manifests. Each check also runs against manifests with a deliberate fault.

mod broken_links;
mod broken_objects;
mod chain;
mod chain_fixture;
mod configuration;
mod kustomize_versions;
mod mutation;
mod other_names;
mod overlays;
mod rendered;
mod tree;
