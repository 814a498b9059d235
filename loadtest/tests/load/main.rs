//! The generator against real servers on loopback.
#![expect(clippy::unwrap_used, reason = "a test ends where it goes wrong")]

mod command;
mod compare;
mod process;
mod protocols;
#[path = "../support/schema.rs"]
mod schema;
mod stripes;
#[expect(dead_code, reason = "some servers are for the tests of the engine")]
#[path = "../../engine/tests/it/support.rs"]
mod support;
mod tls;
