//! Tests of `app_a` over real sockets: the wire contract, outages of `app_b`, TLS, and the binary.
//!
//! `cfg(test)` on each module makes clippy accept `unwrap` in its helper functions.

#[cfg(test)]
mod binary;
#[cfg(test)]
mod configuration;
#[cfg(test)]
mod connections;
#[cfg(test)]
mod contract;
#[cfg(test)]
#[path = "../../../service/tests/support/log_reader.rs"]
mod log_reader;
#[cfg(test)]
#[path = "../../../service/tests/support/mount.rs"]
mod mount;
#[cfg(test)]
mod observability;
#[cfg(test)]
mod outage;
#[cfg(test)]
#[path = "../../../service/tests/support/process.rs"]
mod process;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tls;
#[cfg(test)]
#[path = "../../../service/tests/support/tls_client.rs"]
mod tls_client;
#[cfg(test)]
mod traces;
