//! The generator against real servers on loopback.
#![expect(clippy::unwrap_used, reason = "a test ends where it goes wrong")]

mod connections;
mod hiccup;
mod http2;
mod measurement;
mod support;
