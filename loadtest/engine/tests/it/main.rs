//! Tests of the generator against real servers on loopback.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod connections;
mod http2;
mod measurement;
mod stall;
mod support;
mod warm_up;
