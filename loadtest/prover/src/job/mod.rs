//! Sends a load from several pods. An indexed Job starts one pod per stripe. Each pod waits for the common start time,
//! and prints its result as the last line of its log.

mod follow;
mod manifest;
mod pod_input;
mod send;
mod stop;

pub use self::{
    manifest::{Manifest, job as manifest},
    pod_input::{LoadFlag, PodInput},
    send::{JobOptions, JobOutcome, send},
};
