//! `app_a` over real sockets: the wire contract, `app_b`'s outages, and the binary itself.
//!
//! Each module says `cfg(test)`, which is how clippy knows that a helper may unwrap.

#[cfg(test)]
mod binary;
#[cfg(test)]
mod configuration;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod outage;
#[cfg(test)]
#[path = "../../../service/tests/support/process.rs"]
mod process;
#[cfg(test)]
#[path = "../../../service/tests/support/samples.rs"]
mod samples;
#[cfg(test)]
mod support;
