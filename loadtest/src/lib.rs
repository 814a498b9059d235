//! Load and proof: sends requests open loop and measures them honestly, and shows that the cluster scales on them.
//!
//! [`load`] is the generator, and [`cluster`] reads Kubernetes; [`run`], [`job`], [`merge`], [`chain`], [`scale`], [`compare`] and
//! [`schema`] are the commands.

pub mod chain;
pub mod cli;
pub mod cluster;
pub mod compare;
pub mod exit;
pub mod job;
pub mod load;
pub mod merge;
pub mod output;
mod page;
pub mod run;
pub mod scale;
pub mod schema;
pub mod signals;
pub mod suite;
pub mod units;
