//! The commands `run`, `merge`, `compare` and `capacity` against servers on loopback.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod capacity;
mod command;
mod compare;
mod process;
mod protocols;
mod reports;
mod schedule;
#[path = "../support/schema.rs"]
mod schema;
mod stripes;
#[expect(dead_code, reason = "only the tests of the engine use some servers")]
#[path = "../../engine/tests/it/support.rs"]
mod support;
mod thresholds;
mod tls;
