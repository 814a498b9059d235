//! Tests of the server, its middleware and its shutdown, over real sockets.
//!
//! `cfg(test)` on each module makes clippy accept `unwrap` in its helper functions.

#[cfg(test)]
mod connections;
#[cfg(test)]
mod frames;
#[cfg(test)]
mod http2_limits;
#[cfg(test)]
mod http2_rules;
#[cfg(test)]
mod http_rules;
#[cfg(test)]
mod middleware;
#[cfg(test)]
#[path = "../support/mount.rs"]
mod mount;
#[cfg(test)]
mod shutdown;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tls;
#[cfg(test)]
#[path = "../support/tls_client.rs"]
mod tls_client;
#[cfg(test)]
mod tls_reload;
