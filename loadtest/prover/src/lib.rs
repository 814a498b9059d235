//! Proves that a cluster scales. The crate reads Kubernetes, diagnoses the metrics chain, sends a step of load, and
//! judges the reaction of the cluster. It also holds the tests of the stages of the delivery.
#![warn(clippy::print_stderr, clippy::print_stdout)]

pub mod chain;
pub mod cluster;
pub mod job;
pub mod prove;
pub mod verify;
