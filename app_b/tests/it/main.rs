//! Tests of `app_b` over real sockets: the wire contract, the users, failures of the database, and the binary.
//!
//! `cfg(test)` on each module makes clippy accept `unwrap` in its helper functions.

#[cfg(test)]
mod binary;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod creation;
#[cfg(test)]
#[path = "../../../service/tests/support/log_reader.rs"]
mod log_reader;
#[cfg(test)]
#[path = "../../../service/tests/support/mount.rs"]
mod mount;
#[cfg(test)]
#[path = "../../../service/tests/support/process.rs"]
mod process;
#[cfg(test)]
mod storage;
#[cfg(test)]
mod support;
#[cfg(test)]
mod users;
