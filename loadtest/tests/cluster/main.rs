//! The commands `chain`, `scale` and `job` against a fake API server.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod chain;
mod chain_manifests;
#[expect(dead_code, reason = "only the tests of the prover use some fields")]
#[path = "../../prover/tests/it/cluster_state.rs"]
mod cluster_state;
#[path = "../../prover/tests/it/fake_cluster.rs"]
mod fake_cluster;
#[path = "../../prover/tests/it/fake_watch.rs"]
mod fake_watch;
mod job;
mod job_interrupted;
mod kubeconfig;
#[path = "../../prover/tests/it/objects.rs"]
mod objects;
mod page;
mod pods;
#[expect(dead_code, reason = "only the tests of the prover use some recordings")]
#[path = "../../prover/tests/it/recording.rs"]
mod recording;
mod scale;
mod scale_command;
#[path = "../../prover/tests/it/scaling_cluster.rs"]
mod scaling_cluster;
#[path = "../support/schema.rs"]
mod schema;
