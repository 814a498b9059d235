//! The static checks of the rendered manifests. Each check also runs against manifests with a deliberate fault.

mod aws_permissions;
mod broken_links;
mod broken_objects;
mod chain;
mod chain_fixture;
mod configuration;
mod costs;
mod differences;
mod eks;
mod eks_clusters;
mod jenkins;
mod kube_score;
mod kustomize_versions;
mod load_balancer;
mod mutation;
mod nodes;
mod on_testbed;
mod other_names;
mod overlays;
mod policies;
mod render_cache;
mod rendered;
mod tree;
mod workflow;
