//! Proves that a cluster scales. The crate reads Kubernetes, diagnoses the chain of metrics, sends a step of load, and
//! judges the reaction of the cluster.

pub mod chain;
pub mod cluster;
pub mod job;
pub mod prove;
