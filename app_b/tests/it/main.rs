//! `app_b` over real sockets: the wire contract, its database and what can befall it, and the binary itself.
//!
//! Each module says `cfg(test)`, which is how clippy knows that a helper may unwrap.

#[cfg(test)]
mod binary;
#[cfg(test)]
mod contract;
#[cfg(test)]
#[path = "../../../service/tests/support/process.rs"]
mod process;
#[cfg(test)]
#[path = "../../../service/tests/support/samples.rs"]
mod samples;
#[cfg(test)]
mod storage;
#[cfg(test)]
mod support;
