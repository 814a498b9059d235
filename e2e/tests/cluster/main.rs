//! The tests on a cluster, in the order of their modules' names: first the testbed, then the chain, the disk, the load
//! from several pods, the scaling, and where its time goes.

mod bring_up;
mod chain;
mod disk;
mod distributed;
mod processes;
mod report;
mod scaling;
mod stages;
