//! The load tool: sends requests open loop, measures them, and proves that a cluster scales on them.
//!
//! This crate contains the command line, the [`commands`] and their reports. The crate `engine` generates the load. The
//! crate `prover` reads Kubernetes.
#![warn(clippy::print_stderr, clippy::print_stdout)]

pub mod cli;
pub mod commands;
pub mod exit;
pub mod options;
pub mod output;
pub mod page;
pub mod report_files;
pub mod signals;
pub mod suite;
pub mod verify_options;
