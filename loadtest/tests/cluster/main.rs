//! The code that reads a cluster, against an API server that is made up by named scenarios.
#![expect(clippy::unwrap_used, reason = "a test ends where it goes wrong")]

mod breakdown;
mod chain;
mod fixtures;
mod job;
mod job_interrupted;
mod objects;
mod page;
mod pods;
mod recording;
mod scale;
#[path = "../support/schema.rs"]
mod schema;
mod verdict;
mod world;
