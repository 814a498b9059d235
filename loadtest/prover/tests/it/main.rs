//! The code that reads a cluster, against an API server that is made up by named scenarios.
#![expect(clippy::unwrap_used, reason = "a test ends where it goes wrong")]

mod breakdown;
mod chain;
mod fake_cluster;
mod objects;
mod recording;
mod scale;
#[path = "../../../tests/support/schema.rs"]
mod schema;
mod verdict;
#[expect(
    dead_code,
    reason = "the address of the server is for the tests of the commands"
)]
mod world;
