//! The server, its middleware and its end, over real sockets.
//!
//! Each module says `cfg(test)`, which is how clippy knows that a helper may unwrap.

#[cfg(test)]
mod connections;
#[cfg(test)]
mod middleware;
#[cfg(test)]
#[path = "../support/samples.rs"]
mod samples;
#[cfg(test)]
mod shutdown;
#[cfg(test)]
mod support;
