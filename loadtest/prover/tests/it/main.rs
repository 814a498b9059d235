//! Tests of the code that reads a cluster, against a fake API server.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod breakdown;
mod canary;
mod canary_cluster;
mod canary_stand;
mod chain;
mod chain_external;
mod chain_jobs;
mod cluster_state;
mod fake_cluster;
mod fake_nodes;
mod fake_watch;
mod node_recording;
mod nodes;
mod nodes_verdict;
mod objects;
mod recorded_load;
mod recording;
mod responses;
mod scale;
mod scale_external;
#[expect(dead_code, reason = "the tests of the commands use the address of the server")]
mod scaling_cluster;
#[path = "../../../tests/support/schema.rs"]
mod schema;
mod verdict;
mod verify;
mod verify_proof;
mod watch;
