//! Reads the manifests as the cluster would get them, and says where they disagree: with Kubernetes' schemas, with
//! themselves, and with the binaries that they run.
//!
//! Every check takes rendered objects and returns what is wrong with them, so that tests can hand it broken ones and see
//! that it notices.

pub mod chain;
pub mod findings;
pub mod objects;
pub mod permissions;
pub mod pods;
pub mod relations;
pub mod render;
pub mod schema;
