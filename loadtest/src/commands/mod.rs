//! One module for each command.

pub mod capacity;
pub mod chain;
pub mod compare;
pub mod job;
pub mod merge;
pub mod run;
pub mod scale;
pub mod schema;
pub mod verify;
