//! The tests on a cluster. `xtask/src/suites.rs` assigns each module to a suite.

mod bring_up;
mod certificate;
mod chain;
mod distributed;
mod eks;
mod https;
mod iam;
mod jenkins;
mod karpenter;
mod machine;
mod metrics;
mod nodes;
mod pipeline;
mod policy;
mod processes;
mod prometheus;
mod registry;
mod report;
mod scaling;
mod storage;
mod user_overlay;
mod verify;
mod without_aws;
