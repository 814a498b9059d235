//! The proof that a cluster scales: reads Kubernetes, diagnoses the chain of metrics, drives a step of load and judges
//! what the cluster did.

pub mod chain;
pub mod cluster;
pub mod job;
pub mod prove;
