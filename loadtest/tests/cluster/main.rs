//! The commands on a cluster, against an API server that is made up by named scenarios.
#![expect(clippy::unwrap_used, reason = "a test ends where it goes wrong")]

mod chain;
#[expect(dead_code, reason = "some states are for the tests of the prover")]
#[path = "../../prover/tests/it/cluster_state.rs"]
mod cluster_state;
mod commands;
#[path = "../../prover/tests/it/fake_cluster.rs"]
mod fake_cluster;
mod job;
mod job_interrupted;
mod kubeconfig;
#[path = "../../prover/tests/it/objects.rs"]
mod objects;
mod page;
mod pods;
#[expect(dead_code, reason = "some recordings are for the tests of the prover")]
#[path = "../../prover/tests/it/recording.rs"]
mod recording;
mod scale;
#[path = "../../prover/tests/it/scaling_cluster.rs"]
mod scaling_cluster;
#[path = "../support/schema.rs"]
mod schema;
