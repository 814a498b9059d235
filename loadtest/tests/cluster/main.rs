//! The commands `chain`, `scale`, `job` and `verify` against a fake API server.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod chain;
mod chain_manifests;
#[path = "../../prover/tests/it/cluster_state.rs"]
mod cluster_state;
mod delivery;
#[path = "../../prover/tests/it/fake_cluster.rs"]
mod fake_cluster;
#[path = "../../prover/tests/it/fake_nodes.rs"]
mod fake_nodes;
#[path = "../../prover/tests/it/fake_watch.rs"]
mod fake_watch;
mod job;
mod job_interrupted;
mod kubeconfig;
#[path = "../../prover/tests/it/node_recording.rs"]
mod node_recording;
mod nodes;
#[path = "../../prover/tests/it/objects.rs"]
mod objects;
mod page;
mod pods;
#[path = "../../prover/tests/it/recorded_load.rs"]
mod recorded_load;
#[expect(dead_code, reason = "only the tests of the prover use some functions")]
#[path = "../../prover/tests/it/recording.rs"]
mod recording;
#[path = "../../prover/tests/it/responses.rs"]
mod responses;
mod scale;
mod scale_command;
#[path = "../../prover/tests/it/scaling_cluster.rs"]
mod scaling_cluster;
#[path = "../support/schema.rs"]
mod schema;
#[expect(dead_code, reason = "only the tests of the engine use some servers")]
#[path = "../../engine/tests/it/support.rs"]
mod support;
#[expect(dead_code, reason = "only the tests of loads use some servers")]
#[path = "../load/tls.rs"]
mod tls;
mod verify;
mod verify_requests;
