//! Static checks of the rendered manifests: against Kubernetes' schemas, against each other, and against the binaries that
//! they run.
//!
//! Each check takes rendered objects and returns its findings. Tests pass it broken objects to show that it finds the fault.

pub mod chain;
pub mod findings;
pub mod permissions;
pub mod pods;
pub mod references;
pub mod relations;
pub mod render;
pub mod schema;

pub use chain_check::objects;
