//! Load and proof: sends requests open loop and measures them honestly, and shows that the cluster scales on them.
//!
//! [`load`] is the generator, and [`cluster`] reads Kubernetes; [`run`], [`chain`] and [`scale`] are the commands.

pub mod chain;
pub mod cli;
pub mod cluster;
pub mod compare;
pub mod exit;
pub mod load;
pub mod output;
mod page;
pub mod run;
pub mod scale;
pub mod signals;
pub mod suite;
pub mod units;
