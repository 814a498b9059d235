//! The tests on a cluster, in the order of their modules' names: first the testbed, then the chain, then the scaling.

mod bring_up;
mod chain;
mod processes;
mod scaling;
