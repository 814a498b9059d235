//! The generator against real servers on loopback.
#![expect(clippy::unwrap_used, reason = "a test ends where it goes wrong")]

mod command;
mod compare;
mod connections;
mod hiccup;
mod measurement;
mod protocols;
#[path = "../support/schema.rs"]
mod schema;
mod stripes;
mod support;
