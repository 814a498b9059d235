//! Load and proof: sends requests open loop and measures them honestly, and shows that the cluster scales on them.
//!
//! The crate `engine` is the generator, and the crate `prover` reads Kubernetes; this crate is the command line, the
//! [`commands`] and their reports.

pub mod cli;
pub mod commands;
pub mod exit;
pub mod options;
pub mod output;
pub mod page;
pub mod report_files;
pub mod signals;
pub mod suite;
